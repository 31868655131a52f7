"""Errors of the translation, sizes as arguments of kernels, and the proof that embeddings stay inside their tables."""

import re

import pytest
import torch
from torch import nn

from l0compile.errors import BuildError
from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.kernels.token_tile import token_tile
from l0compile.lower.partition.index_bounds import index_bounds
from l0compile.lower.translate import translate
from l0compile.rewrite.pipeline import assign_layouts


class Positions(nn.Module):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(7, 4), nn.Embedding(rows, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.words(ids) + self.positions(torch.arange(ids.shape[1]))


class Computed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids * 2)


class Unknown(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x)


def test_input_indices_are_bounded_by_the_table() -> None:
    program = capture(Positions(9).eval(), (torch.zeros(2, 5, dtype=torch.int64),))
    assert index_bounds(program) == {"ids": 7}


def test_positions_past_the_table_are_refused() -> None:
    program = capture(Positions(9).eval(), (torch.zeros(2, 5, dtype=torch.int64),))
    table = program.constants["positions.weight"]
    small = program.with_graph(program.graph, {**program.constants, "positions.weight": table[:4]})
    for node in small.graph.nodes:
        if node.target == "positions.weight":
            node.meta["val"] = node.meta["val"][:4]
    with pytest.raises(BuildError, match="cannot prove that its indices stay below 4"):
        index_bounds(small)


def test_computed_indices_are_refused() -> None:
    program = capture(Computed().eval(), (torch.zeros(2, 5, dtype=torch.int64),))
    with pytest.raises(BuildError, match="pass the indices as an input"):
        index_bounds(program)


def test_inputs_that_index_an_axis_are_bounded() -> None:
    class Pick(nn.Module):
        def forward(self, x: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
            return x.gather(1, i).index_add(0, j, x[:, :2])

    inputs = (torch.randn(3, 4), torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    assert index_bounds(capture(Pick().eval(), inputs)) == {"i": 4, "j": 3}


def test_unknown_operator_is_named() -> None:
    program = capture(Unknown().eval(), (torch.randn(3, 3),))
    with pytest.raises(BuildError, match="svd"):
        translate(program, token_tile(load_target("native")))


def test_an_operator_without_lowering_is_refused() -> None:
    program = capture(nn.LSTM(4, 4, batch_first=True).eval(), (torch.randn(2, 3, 4),))
    with pytest.raises(BuildError, match=r"no lowering for operator aten\.lstm"):
        translate(program, token_tile(load_target("native")))


def test_a_size_is_computed_once_for_all_kernels() -> None:
    """TVM would compute it again for each kernel that takes it."""
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))).eval()
    program = capture(model, (torch.randn(2, 5, 4),), dynamic_shapes=(sizes,))
    tile = token_tile(load_target("native"))
    packed = assign_layouts(program, lanes=tile.lanes, rows=tile.rows)
    text = translate(packed, tile).module["main"].script()
    assert len(re.findall(r"lv\d+: T.int64 = ", text)) == 1
    assert "prim_value" not in text
