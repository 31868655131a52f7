"""strides_to_rows: windows into memory are rows of it, whatever became of its layout."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.errors import RewriteError
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.strides_to_rows import strides_to_rows
from l0compile.rewrite.pipeline import optimise_dense

AS_STRIDED = torch.ops.aten.as_strided.default


class Windows(nn.Module):
    def __init__(self, size: list[int], stride: list[int], start: int) -> None:
        super().__init__()
        self.window = size, stride, start

    def forward(self, x: Tensor) -> Tensor:
        return (x * 2).as_strided(*self.window)


@settings(max_examples=15)
@given(
    size=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    stride=st.lists(st.sampled_from([0, 1, 2, 4, 6, 8]), min_size=3, max_size=3),
    last=st.sampled_from([1, 1, 1, 2]),
    start=st.sampled_from([0, 1, 4, 8]),
)
def test_any_window(
    size: list[int],
    stride: list[int],
    last: int,
    start: int,
    apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:
    x = torch.randn(8, 12)
    model = Windows([*size, 4], [*stride[: len(size)], last], start)
    result = apply_once(capture(model.eval(), (x,)), strides_to_rows, x)
    assert count(result, AS_STRIDED) == 0


def test_overlapping_chunks_are_whole_rows(apply_once: Callable[..., Program]) -> None:
    """As Longformer cuts keys into overlapping chunks: one index for each token, not for each of its features."""
    x = torch.randn(2, 16, 8)
    model = Windows([2, 3, 8, 8], [128, 32, 8, 1], 0)
    result = apply_once(capture(model.eval(), (x,)), strides_to_rows, x)
    (rows,) = result.constants.values()
    assert rows.numel() == 2 * 3 * 8


def test_a_layout_that_passes_change(agree: Callable[..., None]) -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ones", torch.ones(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            return x + (self.ones * 1.0).as_strided([2, 3], [12, 1]) * x.t().contiguous().t().sum()

    x = torch.randn(2, 3)
    program = capture(Folded().eval(), (x,))
    agree(program, optimise_dense(program), x)


def test_axes_in_another_order_in_memory(
    apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    """As Longformer's heads: a view of a projection, its axes swapped, cut into overlapping chunks."""

    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).transpose(0, 1).as_strided([3, 4, 2], [2, 6, 1])

    x = torch.randn(6, 8)
    assert count(apply_once(capture(Turned().eval(), (x,)), strides_to_rows, x), AS_STRIDED) == 0


def test_a_part_of_a_tensor_that_counts_from_its_start(apply_once: Callable[..., Program]) -> None:
    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2)[2:].as_strided([2, 4], [8, 1], 16)

    apply_once(capture(Part().eval(), (x := torch.randn(6, 8),)), strides_to_rows, x)


def test_with_sizes_that_vary_it_stays(count: Callable[..., int]) -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.as_strided([2, 2], [3, 1])

    program = capture(Plain().eval(), (torch.randn(4, 3),), dynamic_shapes={0: "rows"})
    assert count(strides_to_rows(program), AS_STRIDED) == 1


@pytest.mark.parametrize(
    "view",
    [lambda x: x[:, 1:], lambda x: x[:1].expand(4, -1), lambda x: x[1:]],
    ids=["part", "expanded", "beyond"],
)
def test_memory_that_is_lost_is_refused(view: Callable[[Tensor], Tensor]) -> None:
    class Lost(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return view(x * 2).as_strided([2, 2], [3, 1], 0)

    with pytest.raises(RewriteError, match="as_strided of a tensor that fills its memory"):
        strides_to_rows(capture(Lost().eval(), (torch.randn(4, 3),)))
