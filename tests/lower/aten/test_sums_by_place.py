"""Sums of bfloat16 by place and running sums: torch makes most of them in float32 and rounds once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import l0compile as l0

COUNT = 600  # ones, of which a sum in bfloat16 that is rounded each time stops at 256


class Sums(nn.Module):
    def forward(self, x: Tensor, places: Tensor) -> dict[str, Tensor]:
        return {name: function(x, places) for name, function in SUMS.items()}


def zeros(x: Tensor, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=x.dtype)


SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "scatter_add": lambda x, i: zeros(x, 2, 3).scatter_add(0, i[:, None].expand(-1, 3), x),
    "scatter_add of a vector": lambda x, i: zeros(x, 2).scatter_add(0, i, x[:, 0]),
    "scatter_reduce sum": lambda x, i: zeros(x, 2).scatter_reduce(0, i, x[:, 0], "sum", include_self=False),
    "scatter_reduce prod": lambda x, i: zeros(x, 2).scatter_reduce(0, i, x[:, 0] * 1.01, "prod"),
    "index_add": lambda x, i: zeros(x, 2, 3).index_add(0, i, x),
    "index_add, last axis": lambda x, i: zeros(x, 3, 2).index_add(1, i, x.t()),
    "index_add, middle axis": lambda x, i: zeros(x, 1, 2, 3).index_add(1, i, x[None]),
    "index_add of a vector": lambda x, i: zeros(x, 2).index_add(0, i, x[:, 0]),
    "index_add, alpha": lambda x, i: zeros(x, 2, 3).index_add(0, i, x, alpha=2),
    "index_put": lambda x, i: zeros(x, 2, 3).index_put((i,), x, accumulate=True),
    "cumsum": lambda x, i: x.cumsum(0),
    "cumprod": lambda x, i: (x * 1.01).cumprod(0)[:60],
}


def test_as_exact_as_pytorch() -> None:
    x, places = torch.ones(COUNT, 3, dtype=torch.bfloat16), torch.zeros(COUNT, dtype=torch.int64)
    places[-1] = 1
    model = Sums().eval()
    compiled = l0.compile(model, (x, places), engine="tvm")
    assert not compiled.explain().islands
    torch.testing.assert_close(compiled(x, places), model(x, places), rtol=0.0, atol=0.0)
