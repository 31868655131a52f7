"""Sums over lists of rows: one operator, compaction through it, and the side of a linear layer where it is narrower."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import l0compile as l0
from l0compile.errors import InputError
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.narrow_bags import narrow_bags
from l0compile.rewrite.normalize.bags import single_bags
from l0compile.rewrite.pipeline import optimise_dense

BAG, LINEAR = torch.ops.l0compile.bag.default, torch.ops.aten.linear.default
ROWS = 7
INDICES = torch.tensor([3, 0, 6, 6, 1, 2, 5, 4, 4])
STARTS = torch.tensor([0, 2, 2, 3, 5, 8, 9])  # the second list and the last are empty


class Around(nn.Module):
    """A layer after a sum over lists, or before it."""

    def __init__(self, inputs: int, outputs: int, mode: str, *, after: bool, bias: bool) -> None:
        super().__init__()
        self.layer, self.mode, self.after = nn.Linear(inputs, outputs, bias=bias), mode, after

    def forward(self, x: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        given = weights if self.mode == "sum" else None
        x = x if self.after else self.layer(x)
        x = functional.embedding_bag(indices, x, starts, mode=self.mode, per_sample_weights=given)
        return self.layer(x) if self.after else x


def arguments(inputs: int) -> tuple[Tensor, ...]:
    return torch.randn(ROWS, inputs), INDICES, STARTS, torch.rand(len(INDICES))


def operators(program: Program) -> list[object]:
    return [node.target for node in program.graph.nodes if node.target in (BAG, LINEAR)]


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["sum", "mean"]), st.booleans(), st.booleans())
def test_the_sum_is_where_rows_are_narrower(
    inputs: int, outputs: int, mode: str, after: bool, bias: bool
) -> None:
    model, args = Around(inputs, outputs, mode, after=after, bias=bias).eval(), arguments(inputs)
    program = single_bags(capture(model, args))
    assert BAG in operators(program)
    moved = narrow_bags(program)
    stays_after = outputs >= inputs if after else (bias or outputs <= inputs)
    first_layer = [LINEAR, BAG]
    if after:
        assert operators(moved) == ([BAG, LINEAR] if stays_after else first_layer)
    else:
        assert operators(moved) == (first_layer if stays_after else [BAG, LINEAR])
    assert (moved is program) == stays_after and narrow_bags(moved) is moved
    with torch.no_grad():
        torch.testing.assert_close(moved.module()(*args)[0], model(*args), rtol=1e-5, atol=1e-5)


def test_a_sum_that_something_else_reads_stays_and_so_does_one_over_fewer_lists() -> None:
    class Read(Around):
        def forward(self, x: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
            x = functional.embedding_bag(indices, x, starts, mode="mean")
            return torch.cat([self.layer(x), x], 1)

    program = single_bags(capture(Read(4, 2, "mean", after=True, bias=False).eval(), arguments(4)))
    assert narrow_bags(program) is program
    fewer = (torch.randn(ROWS, 4), INDICES, STARTS[:3], torch.rand(len(INDICES)))
    program = single_bags(capture(Around(4, 2, "mean", after=True, bias=False).eval(), fewer))
    assert operators(program) == [BAG, LINEAR] and narrow_bags(program) is program


@pytest.mark.parametrize("kind", ["max", "padding", "last"])
def test_other_bags_are_left_alone(kind: str) -> None:
    class Other(nn.Module):
        def forward(self, x: Tensor, indices: Tensor, starts: Tensor) -> Tensor:
            if kind == "max":
                return functional.embedding_bag(indices, x, starts, mode="max")
            if kind == "padding":
                return functional.embedding_bag(indices, x, starts, mode="sum", padding_idx=4)
            return functional.embedding_bag(indices, x, starts, mode="sum", include_last_offset=True)

    args = arguments(3)[:3]
    program = capture(Other().eval(), args)
    assert single_bags(program) is program
    torch.testing.assert_close(l0.compile(Other().eval(), args)(*args), Other()(*args))


@settings(max_examples=15)
@given(st.lists(st.booleans(), min_size=6, max_size=6), st.booleans())
def test_dead_features_go_through_the_sum(live: list[bool], weighted: bool) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
            x = self.first(x)
            mode, given = ("sum", weights) if weighted else ("mean", None)
            x = functional.embedding_bag(indices, x, starts, mode=mode, per_sample_weights=given)
            return self.second(torch.relu(x))

    model, args = Two().eval(), arguments(5)
    with torch.no_grad():
        model.second.weight[:, ~torch.tensor(live)] = 0.0
    program = optimise_dense(capture(model, args))
    widths = [tuple(program.constants[str(n.args[1].target)].shape) for n in program.graph.find_nodes(
        op="call_function", target=LINEAR)]  # fmt: skip
    if any(live):
        assert sorted(widths) == sorted([(sum(live), 5), (3, sum(live))])
    with torch.no_grad():
        torch.testing.assert_close(program.module()(*args)[0], model(*args), rtol=1e-5, atol=1e-5)


def test_an_index_past_the_rows_is_refused_before_anything_is_computed() -> None:
    model, args = Around(16, 4, "mean", after=False, bias=True).eval(), arguments(16)
    compiled = l0.compile(model, args, engine="tvm")
    wrong = INDICES.clone()
    wrong[3] = ROWS
    with pytest.raises(InputError, match=f"expected indices from 0 to {ROWS - 1}"):
        compiled(args[0], wrong, *args[2:])
