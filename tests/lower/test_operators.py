"""Every lowered operator against PyTorch, on the grid of arguments in grid/."""

import operator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from l0compile.frontend.export import capture
from l0compile.hardware._tvm import relax, runtime, tvm
from l0compile.hardware.targets import load_target
from l0compile.ir.editor import Editor
from l0compile.ir.program import Program
from l0compile.ir.shapes import infer_shapes
from l0compile.kernels.token_tile import token_tile
from l0compile.lower.aten.conversions import CONVERSIONS
from l0compile.lower.launch_records import parameter_names
from l0compile.lower.translate import translate
from l0compile.lower.tvm.build import build
from tests.lower.grid import QUICK, THEMES, Theme


class Together(nn.Module):
    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.functions = theme.functions

    def forward(self, inputs: list[torch.Tensor]) -> dict[str, Any]:
        return {name: function(*inputs) for name, function in self.functions.items()}


def captured(theme: Theme, inputs: list[torch.Tensor]) -> Program:
    dynamic = None
    if theme.dynamic:
        dims = [dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in theme.dynamic]
        dynamic = {"inputs": dims}
    return capture(Together(theme).eval(), (inputs,), dynamic_shapes=dynamic)


def lowered(program: Program) -> Any:
    """The program as a function of its flat inputs, without any rewrite."""
    target = load_target("native")
    translation = translate(program, token_tile(target))
    machine = relax.VirtualMachine(
        build(translation.module, target, token_tile(target)).code.module, tvm.cpu()
    )
    parameters = [
        runtime.from_dlpack(program.constants[name].contiguous()) for name in parameter_names(program)
    ]

    def call(*inputs: torch.Tensor) -> Any:
        results = machine["main"](*[runtime.from_dlpack(x.contiguous()) for x in inputs], parameters)
        tensors = [torch.utils.dlpack.from_dlpack(result) for result in results]
        return pytree.tree_unflatten(tensors, program.out_spec)

    return call


def check(name: str, got: torch.Tensor, expected: torch.Tensor) -> str | None:
    """What is wrong with a result, if anything is."""
    if got.dtype != expected.dtype or got.shape != expected.shape:
        return (
            f"{name}: expected {expected.dtype} {tuple(expected.shape)}, got {got.dtype} {tuple(got.shape)}"
        )
    share = {torch.bfloat16: 8e-3, torch.float32: 2e-5, torch.float64: 1e-12}.get(expected.dtype, 0.0)
    close = torch.isclose(got.double(), expected.double(), rtol=share, atol=share, equal_nan=True)
    if bool(close.all()):
        return None
    where = tuple((~close).nonzero()[0].tolist())
    return f"{name}: at {where} expected {expected[where].item()}, got {got[where].item()}"


@pytest.mark.parametrize(
    "theme",
    [
        pytest.param(theme, id=theme.name, marks=() if theme.name in QUICK else pytest.mark.slow)
        for theme in THEMES
    ],
)
def test_same_as_pytorch(theme: Theme) -> None:
    torch.manual_seed(0)
    inputs = list(theme.inputs())
    call = lowered(captured(theme, inputs))
    sets = [inputs]
    if theme.dynamic:
        sets.append([torch.randn(5, 9, *x.shape[2:]) for x in inputs])
    problems = []
    for values in sets:
        expected = Together(theme)(values)
        for name, result in call(*values).items():
            pairs = zip(pytree.tree_leaves(result), pytree.tree_leaves(expected[name]), strict=True)
            problems += [problem for got, want in pairs if (problem := check(name, got, want))]
    assert not problems, "\n".join(problems)


# Tracing writes these as views; only rewrites introduce them.
MADE_BY_REWRITES = {"aten.reshape.default", "aten.unflatten.int"}


@pytest.mark.slow
def test_no_operator_is_lowered_untested() -> None:
    tested = set()
    for theme in THEMES:
        graph = captured(theme, list(theme.inputs())).graph
        tested |= {str(node.target) for node in graph.nodes if node.op == "call_function"}
    lowered = {str(target) for target in CONVERSIONS if target is not operator.getitem}
    assert lowered - tested == MADE_BY_REWRITES


def test_reshapes_made_by_rewrites() -> None:
    program = capture(nn.ReLU().eval(), (torch.randn(2, 6, 4),))
    editor, last = Editor(program), program.output
    relu = last.args[0][0]  # type: ignore[index]
    ways = (
        (torch.ops.aten.reshape.default, (3, 16)), (torch.ops.aten.flatten.using_ints, (0, 1)),
        (torch.ops.aten.unflatten.int, (2, [2, 2])),
    )  # fmt: skip
    for target, rest in ways:
        node = next(n for n in editor.graph.nodes if n.name == relu.name)
        arguments = (node, list(rest)) if target is torch.ops.aten.reshape.default else (node, *rest)
        created = editor.call(target, arguments, before=next(reversed(editor.graph.nodes)))
        output = next(reversed(editor.graph.nodes))
        output.args = ((created,),)
        editor.changed += 1
        changed = editor.finish()
        infer_shapes(changed)
        x = torch.randn(2, 6, 4)
        assert torch.equal(lowered(changed)(x), changed.module()(x)[0])
