"""When verification fails, the message names the pass or the region at which compiled and captured model part ways."""

from dataclasses import replace

import torch
from torch import nn

from l0compile.compiler.verification import Flat, locate
from l0compile.frontend.export import capture
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_op
from l0compile.ir.program import Program
from l0compile.rewrite.pipeline import dense_passes
from l0compile.rewrite.regions import record_regions

aten = torch.ops.aten


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(8, 8), nn.Tanh()))).eval()


def breaks(program: Program) -> Program:
    """A wrong pass: the second layer loses its bias."""
    editor = Editor(program)
    second = [node for node in editor.graph.nodes if is_op(node, aten.linear.default)][1]
    second.args = second.args[:2]
    editor.changed += 1
    return editor.finish()


def test_a_wrong_pass_is_named_with_its_region() -> None:
    x = torch.randn(3, 8)
    program = capture(model(), (x,))
    words = locate(program, program, [*dense_passes()[:2], breaks], never, [x], 2e-5)
    assert words == "the pass breaks changed it, first seen in region 2"


def test_wrong_code_is_named_by_its_region() -> None:
    x = torch.randn(3, 8)
    program = record_regions(capture(model(), (x,)))
    third = program.constants["4.weight"]

    def build(part: Program) -> "Runs":
        return Runs(
            replace(part, constants={n: t * 2 if t is third else t for n, t in part.constants.items()})
        )

    words = locate(program, program, [], build, [x], 2e-5)
    assert words == "the rewritten graph is right in PyTorch, the code for region 4 is not"


def test_a_fault_that_cannot_be_found_is_said_to_be_so() -> None:
    x = torch.randn(3, 8)
    program = record_regions(capture(model(), (x,)))
    assert "not found (RuntimeError" in locate(program, program, [], never, [x], 2e-5)


class Runs:
    """A program in PyTorch, in place of a compiled one."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, inputs: Flat) -> Flat:
        with torch.no_grad():
            return list(self.program.module()(*inputs))


def never(program: Program) -> Runs:
    raise RuntimeError("no code")
