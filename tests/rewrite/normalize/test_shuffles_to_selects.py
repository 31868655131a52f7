"""shuffles_to_selects: which reshapes are a shuffle of channels, and which are not."""

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.shuffles_to_selects import shuffles_to_selects

aten = torch.ops.aten

SHUFFLES: dict[str, Callable[[Tensor], Tensor]] = {
    "two groups": lambda x: x.view(x.shape[0], 2, 6, *x.shape[2:]).transpose(1, 2).reshape(x.shape),
    **{
        f"three factors {order}": lambda x, order=order: (
            x.unflatten(1, (2, 3, 2)).permute(0, *(axis + 1 for axis in order), 4, 5).reshape(x.shape)
        )
        for order in list(permutations(range(3)))[1:]
    },
    "another axis": lambda x: x.unflatten(3, (2, 2)).transpose(3, 4).flatten(3),
    "operator": lambda x: torch.channel_shuffle(x, 3),
    "half of it": lambda x: torch.channel_shuffle(x, 3)[:, 6:],
    "every second": lambda x: torch.channel_shuffle(x, 3)[:, 1:-1:2],
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "with a position": lambda x: x.unflatten(1, (2, 6)).permute(0, 2, 3, 1, 4).flatten(1, 2),
    "into the next axis": lambda x: x.unflatten(1, (3, 4)).transpose(1, 2).reshape(x.shape[0], 4, -1, 4),
    "with the batch": lambda x: x.reshape(x.shape[0] * 2, 6, 5, 4).transpose(0, 1).reshape(x.shape),
    "without reshape": lambda x: x.transpose(1, 2),
}


class Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) * 2


def program(function: Callable[[Tensor], Tensor]) -> Program:
    x = torch.randn(2, 12, 5, 4)
    return canonicalize(capture(Of(function).eval(), (x,), dynamic_shapes={"x": {0: "batch"}}))


@pytest.mark.parametrize("name", SHUFFLES)
def test_a_shuffle_is_a_select(
    name: str, apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    result = apply_once(program(SHUFFLES[name]), shuffles_to_selects, torch.randn(3, 12, 5, 4))
    assert count(result, aten.index_select.default) == 1
    assert not any(count(result, op) for op in (aten.permute.default, aten.transpose.int, aten.slice.Tensor))


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_left(name: str) -> None:
    given = program(OTHERS[name])
    assert shuffles_to_selects(given) is given


def test_all_in_order_is_nothing(count: Callable[..., int]) -> None:
    order = torch.arange(12)
    result = program(lambda x: x.index_select(1, order).index_select(1, order.flip(0)))
    assert count(result, aten.index_select.default) == 1
