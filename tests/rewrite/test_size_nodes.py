"""SizeNodes: a size of the metadata becomes a node with that value, for any inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.errors import RewriteError
from l0compile.frontend.export import capture
from l0compile.ir.editor import Editor
from l0compile.ir.program import Program
from l0compile.rewrite.size_nodes import SizeNodes


class Sizes(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sum() + y.sum()


def build() -> Program:
    names: Any = {"x": {0: "batch", 1: "length"}, "y": {1: "length"}}
    return capture(Sizes().eval(), (torch.randn(2, 5, 3), torch.randn(4, 5)), dynamic_shapes=names)


PROGRAM = build()
X, Y = PROGRAM.placeholders
BATCH, LENGTH = X.meta["val"].shape[:2]

# Every operation that a size may have, as a function that both torch's symbols and plain numbers run through.
FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    "number": lambda b, s: 7,
    "symbol": lambda b, s: s,
    "product": lambda b, s: 2 * b * s,
    "sum": lambda b, s: b + s - 1,
    "floor division": lambda b, s: (s + 3) // 4,
    "power": lambda b, s: b * s * s * s,
    "remainder": lambda b, s: s % 4 + b,
    "larger": lambda b, s: torch.sym_max(b, s),
    "smaller": lambda b, s: torch.sym_min(b, 2 * s),
    "nested": lambda b, s: (b * (s // 2) + 1) // 3 + s % 2,
}


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
@given(batch=st.integers(1, 9), length=st.integers(1, 9))
def test_value(formula: Callable[[Any, Any], Any], batch: int, length: int) -> None:
    editor = Editor(PROGRAM)
    node = SizeNodes(editor).of(formula(BATCH, LENGTH))
    editor.graph.output_node().args = ((node,),)
    editor.graph.lint()
    (value,) = editor.current().module()(torch.randn(batch, length, 3), torch.randn(4, length))
    assert value == formula(batch, length)


def test_metadata_is_the_size_itself() -> None:
    size = LENGTH // 2 * BATCH
    node: Any = SizeNodes(Editor(PROGRAM)).of(size)
    assert node.meta["val"].node.expr == size.node.expr


def test_a_shape_is_read_once_from_the_first_input_that_has_it() -> None:
    editor = Editor(PROGRAM)
    sizes = SizeNodes(editor)
    first, second = sizes.shape((BATCH, LENGTH, 3)), sizes.shape((LENGTH, BATCH))
    assert first == [second[1], second[0], 3]
    reads = editor.graph.find_nodes(op="call_function", target=torch.ops.aten.sym_size.int)
    assert {(node.args[0].name, node.args[1]) for node in reads} == {("x", 0), ("x", 1)} and len(reads) == 2


def test_a_size_that_no_input_has_is_named() -> None:
    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu()

    rows = 2 * torch.export.Dim("half")
    program = capture(Rows().eval(), (torch.randn(4, 3),), dynamic_shapes={"x": {0: rows}})
    half = program.placeholders[0].meta["val"].shape[0] // 2
    with pytest.raises(
        RewriteError, match="got a size that no input has; declare that dimension of the input dynamic"
    ):
        SizeNodes(Editor(program)).of(half)


def test_arithmetic_without_whole_numbers_is_refused() -> None:
    with pytest.raises(RewriteError, match="expected whole-number arithmetic on input sizes"):
        SizeNodes(Editor(PROGRAM)).of(torch.sym_int(torch.sym_sqrt(LENGTH)))
