"""The runner and the verifier: what a pass may not do, what is written down, and fuel."""

from functools import partial

import pytest
import torch
from torch import nn

from l0compile.errors import RewriteError
from l0compile.frontend.export import capture
from l0compile.hardware.targets import Target
from l0compile.ir.editor import Editor
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.pipeline import optimise
from l0compile.rewrite.runner import run

aten = torch.ops.aten


@pytest.fixture(scope="module")
def program() -> Program:
    return capture(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout()).eval(), (torch.randn(3, 4),))


def negate(program: Program) -> Program:
    editor = Editor(program)
    relu = editor.graph.find_nodes(op="call_function", target=aten.relu.default)[0]
    editor.replace(relu, editor.call(aten.neg.default, (relu.args[0],), before=relu))
    return editor.finish()


def narrow(program: Program) -> Program:
    editor = Editor(program)
    relu = editor.graph.find_nodes(op="call_function", target=aten.relu.default)[0]
    editor.replace(relu, editor.call(aten.slice.Tensor, (relu.args[0], 1, 0, 3), before=relu))
    return editor.finish()


def lose_constant(program: Program) -> Program:
    graph, constants = program.edit()
    constants.pop("0.bias")
    return Program(**{**vars(program), "graph": graph, "constants": constants})


def misuse(program: Program) -> Program:
    graph, constants = program.edit()
    graph.find_nodes(op="call_function", target=aten.relu.default)[0].target = print
    return Program(**{**vars(program), "graph": graph, "constants": constants})


def unorder(program: Program) -> Program:
    graph, constants = program.edit()
    relu = graph.find_nodes(op="call_function", target=aten.relu.default)[0]
    next(iter(graph.nodes)).prepend(relu)
    return Program(**{**vars(program), "graph": graph, "constants": constants})


def test_history(program: Program) -> None:
    result = run(program, [canonicalize, partial(negate), canonicalize])
    assert [record.name for record in result.history] == ["canonicalize", "negate", "canonicalize"]
    assert result.history[1].changed >= 1 and result.history[2].changed == 0
    assert all(record.seconds > 0 for record in result.history) and program.history == ()
    assert all("val" in node.meta for node in result.graph.nodes if node.op != "output")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (narrow, r"narrow: output 0: expected \(\(3, 6\), torch.float32\), got \(\(3, 3\)"),
        (lose_constant, "0.bias"),
        (misuse, "print"),
        (unorder, "unorder|relu"),
    ],
)
def test_a_pass_that_breaks_the_program_is_caught(program: Program, step, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RewriteError, match=words):
        run(program, [step])


def test_fuel_stops_after_so_many_changing_passes(program: Program, target: Target) -> None:
    assert run(program, [negate, negate], max_rewrites=0) == run(program, [])
    names = [
        record.name for record in run(program, [canonicalize, negate, canonicalize], max_rewrites=1).history
    ]
    assert names[0] == "canonicalize" and len(names) <= 2
    assert len(optimise(program, target, max_rewrites=0).history) == 0
