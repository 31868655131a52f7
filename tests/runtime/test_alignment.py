"""Inputs that kernels cannot read as they lie are copied, whatever their dtype and strides."""

import pytest
import torch
from torch import Tensor

from l0compile.runtime.tvm_stage import aligned

KINDS = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


def values(dtype: torch.dtype) -> Tensor:
    """[4, 6] in memory that begins one element after a cache line, or a few where an element is small."""
    return (
        (torch.arange(32) % 5 - (0 if dtype in (torch.uint8, torch.bool) else 2))
        .to(dtype)[1:25]
        .reshape(4, 6)
    )


@pytest.mark.parametrize("dtype", KINDS, ids=str)
@pytest.mark.parametrize("way", ["shifted", "transposed", "strided", "expanded", "scalar", "empty"])
def test_the_copy_is_equal_and_aligned(dtype: torch.dtype, way: str) -> None:
    x = values(dtype)
    ways = {
        "shifted": x, "transposed": x.t(), "strided": x[:, ::2], "expanded": x[:1].expand(3, 6), "scalar": x[1, 1],
        "empty": x[:0],
    }  # fmt: skip
    copy = aligned(ways[way])
    assert copy.dtype == dtype and torch.equal(copy, ways[way])
    assert copy.is_contiguous() and (copy.data_ptr() % 64 == 0 or not copy.numel())


def test_aligned_memory_is_not_copied() -> None:
    x = torch.ones(4, 16)
    assert aligned(x) is x


def test_gradients_and_large_tensors() -> None:
    x = torch.randn(70_001, requires_grad=True)[1:]
    assert torch.equal(aligned(x), x)
