"""Sums over channels whose number varies: nothing about them is assumed dead, and the answer is the model's."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

import l0compile as l0

N, K, M = Dim("n", min=2), Dim("k", min=2), Dim("m", min=2)

# The operator; input sizes with n, k, m = 4, 6, 5; and which axes vary.
SUMS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...], tuple[dict[int, Dim], ...]]] = {
    "linear": (F.linear, ((4, 6), (5, 6)), ({0: N, 1: K}, {0: M, 1: K})),
    "convolution": (F.conv2d, ((4, 6, 8, 8), (5, 6, 3, 3)), ({0: N, 1: K}, {0: M, 1: K})),
    "matmul": (torch.matmul, ((4, 6), (6, 5)), ({0: N, 1: K}, {0: K, 1: M})),
    "sum": (lambda x: x.sum(1), ((4, 6),), ({0: N, 1: K},)),
    "layer norm": (lambda x: F.layer_norm(x, (x.shape[1],)), ((4, 6),), ({0: N, 1: K},)),
    "softmax": (lambda x: x.softmax(1), ((4, 6),), ({0: N, 1: K},)),
}


class Summed(nn.Module):
    def __init__(self, function: Callable[..., Tensor], number: float | None) -> None:
        super().__init__()
        self.function, self.number = function, number

    def forward(self, x: Tensor, *weights: Tensor) -> Tensor:
        return self.function(x if self.number is None else torch.full_like(x, self.number), *weights)


@pytest.mark.parametrize("number", [None, 0.0, 1.5])
@pytest.mark.parametrize("name", SUMS)
def test_sums_over_a_varying_number_of_channels(name: str, number: float | None) -> None:
    function, sizes, axes = SUMS[name]
    model = Summed(function, number).eval()
    shapes = {"x": axes[0]} | ({"weights": axes[1:]} if axes[1:] else {})
    compiled = l0.compile(
        model, tuple(torch.randn(size) for size in sizes), dynamic_shapes=shapes, engine="torch"
    )
    others = [
        tuple(size + 2 if axis in varying else size for axis, size in enumerate(shape))
        for shape, varying in zip(sizes, axes, strict=True)
    ]
    for inputs in (sizes, others):
        given = tuple(torch.randn(size) for size in inputs)
        torch.testing.assert_close(compiled(*given), model(*given), rtol=1e-5, atol=1e-5)
