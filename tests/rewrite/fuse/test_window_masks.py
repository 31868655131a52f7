"""Windows in masks: what follows from positions becomes before and after, exactly; what does not stays a mask."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional as F

from l0compile.analysis.band import Band, band_of_mask
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_attention import fuse_attention
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.normalize.simplify_masks import simplify_masks
from l0compile.rewrite.runner import run

attention = torch.ops.l0compile.attention.default
LOWEST, DEAD = torch.finfo(torch.float32).min, float("-inf")
Window = tuple[int | None, int | None]
Mask = Callable[[int, Tensor], Tensor]


class Attend(nn.Module):
    """Attention of x [batch, n, 8] to itself, two heads; the mask is made of n and of the live keys [batch, n]."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self.mask = mask
        self.register_buffer("lower", torch.ones(1, 1, 64, 64, dtype=torch.bool).tril().triu(-4))
        self.register_buffer("added", torch.full((64, 64), DEAD).triu(1))

    def forward(self, x: Tensor, live: Tensor) -> Tensor:
        q, k, v = (x * factor for factor in (1.0, 0.7, 1.3))
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (q, k, v))
        mask = self.mask(self, x.shape[1], live) if self.mask in OF_BUFFERS else self.mask(x.shape[1], live)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def at(n: int, start: int = 0) -> tuple[Tensor, Tensor]:
    """Positions of queries [n, 1] and of keys [n]."""
    positions = torch.arange(start, n + start)
    return positions[:, None], positions


def distance(n: int) -> Tensor:
    query, key = at(n)
    return query - key


def keys(live: Tensor) -> Tensor:
    return live[:, None, None, :]


def sliding(n: int) -> Tensor:
    query, key = at(n)
    return (key > query - 3) & (key <= query)


def added(seen: Tensor, dead: float) -> Tensor:
    return torch.where(seen, torch.zeros(()), dead)


def filled(n: int, seen: Callable[[Tensor], Tensor], dead: float) -> Tensor:
    return torch.zeros(n, n).masked_fill(seen(distance(n)), dead)


# A mask -> the window, and whether the live keys stay a mask of their own.
FOUND: dict[str, tuple[Any, Window, bool]] = {
    "sliding": (lambda n, live: sliding(n), (2, 0), False),
    "sliding and live": (lambda n, live: sliding(n) & keys(live), (2, 0), True),
    "both sides": (lambda n, live: distance(n).abs() <= 2, (2, 2), False),
    "both sides and live": (lambda n, live: keys(live) & (distance(n).abs() < 3), (2, 2), True),
    "strictly": (lambda n, live: distance(n).abs().lt(2), (1, 1), False),
    "key minus query": (lambda n, live: -distance(n) <= 4, (None, 4), False),
    "both shifted": (lambda n, live: at(n, 7)[0] + 1 >= at(n, 9)[1], (None, -1), False),
    "distance from the right": (lambda n, live: 3 - distance(n) >= 0, (3, None), False),
    "not later": (lambda n, live: ~(distance(n) < 0), (None, 0), False),
    "triangles": (lambda n, live: torch.ones(n, n, dtype=torch.bool).tril(1).triu(-2), (2, 1), False),
    "triangle of numbers": (lambda n, live: torch.tril(torch.ones(n, n)).bool(), (None, 0), False),
    "minus infinity": (lambda n, live: added(sliding(n), DEAD), (2, 0), False),
    "minus infinity and live": (lambda n, live: added(sliding(n) & keys(live), DEAD), (2, 0), True),
    "lowest": (lambda n, live: added(sliding(n), LOWEST), (2, 0), False),
    "lowest and live": (lambda n, live: added(sliding(n) & keys(live), LOWEST), (2, 0), True),
    "filled": (lambda n, live: filled(n, lambda d: d < -1, LOWEST), (None, 1), False),
    "added triangle": (lambda n, live: torch.full((n, n), DEAD).triu(1), (None, 0), False),
    "expanded": (lambda n, live: (sliding(n) & keys(live)).expand(live.shape[0], 1, n, n), (2, 0), True),
    "buffer": (lambda self, n, live: self.lower[:, :, :n, :n], (4, 0), False),
    "buffer and live": (lambda self, n, live: self.lower[:, :, :n, :n] & keys(live), (4, 0), True),
    "added buffer": (lambda self, n, live: self.added[:n, :n], (None, 0), False),
}  # fmt: skip
OF_BUFFERS = [mask for name, (mask, *_) in FOUND.items() if "buffer" in name]
ONLY_FIXED = ("added buffer",)  # a part of a buffer whose length is an input is no constant

LEFT: dict[str, Any] = {
    "lowest, and the first query sees no key": lambda n, live: added(distance(n) >= 1, LOWEST),
    "lowest and live, any earlier key": lambda n, live: added((distance(n) >= 0) & keys(live), LOWEST),
    "lowest and live, not itself": lambda n, live: added((distance(n) >= 1) & keys(live), LOWEST),
    "a number that scores may reach": lambda n, live: added(sliding(n), -1e4),
    "every second key": lambda n, live: (distance(n) <= 0) & (at(n)[1] % 2 == 0) | (distance(n) == 0),
    "another scale": lambda n, live: at(n)[1] * 2 <= at(n)[0],
    "numbers with a fraction": lambda n, live: at(n)[1] + 0.5 <= at(n)[0] + 1,
    "queries of one position": lambda n, live: at(n)[1] <= torch.arange(1, 2)[:, None],
    "positions of the batch": lambda n, live: (torch.arange(live.shape[0])[:, None, None, None] + at(n)[1]) >= 1,
    "either": lambda n, live: (distance(n) == 0) | keys(live),
    "other positions": lambda n, live: live.cumsum(1)[:, None, None, :] <= at(n)[0] + 1,
}  # fmt: skip

CONSTANT = ("numbers with a fraction",)  # of a fixed length it is evaluated, and found


def fused(mask: Any, dynamic: bool, batch: int = 2, n: int = 7) -> tuple[nn.Module, Program, fx.Node]:
    model, inputs = Attend(mask).eval(), example(batch, n)
    names = {"x": {0: "batch", 1: "n"}, "live": {0: "batch", 1: "n"}} if dynamic else None
    steps = [canonicalize, fold_constants, canonicalize, simplify_masks, fuse_attention]
    program = run(capture(model, inputs, dynamic_shapes=names), steps)
    (node,) = program.graph.find_nodes(op="call_function", target=attention)
    return model, program, node


def example(batch: int, n: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    live = torch.rand(batch, n) < 0.7
    live[:, 0] = True
    return torch.randn(batch, n, 8), live


def same(model: nn.Module, program: Program, inputs: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        expected, (found, *_) = model(*inputs), program.module()(*inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "dynamic"), [(n, d) for n in FOUND for d in (False, True) if not (d and n in ONLY_FIXED)]
)
def test_found(name: str, dynamic: bool) -> None:
    mask, window, stays = FOUND[name]
    model, program, node = fused(mask, dynamic)
    assert node.args[6:8] == window
    rest: Any = node.args[3]
    assert (rest is not None) == stays
    if stays:
        assert [isinstance(size, int) and size == 1 for size in rest.meta["val"].shape[1:3]] == [True, True]
    for batch, n in ((2, 7), (1, 1), (3, 2), (1, 12)) if dynamic else ((2, 7),):
        same(model, program, example(batch, n))


@pytest.mark.parametrize(
    ("name", "dynamic"), [(n, d) for n in LEFT for d in (False, True) if d or n not in CONSTANT]
)
def test_what_is_not_proved_stays(name: str, dynamic: bool) -> None:
    model, program, node = fused(LEFT[name], dynamic)
    assert node.args[6:8] == (None, None) and node.args[3] is not None
    same(model, program, example(2, 7))


def test_the_lowest_number_hides_nothing_from_a_query_that_sees_no_key() -> None:
    """Such a query attends to all keys alike. It has one here: fewer keys than queries, or a window far away."""

    class Cross(nn.Module):
        def forward(self, q: Tensor, k: Tensor) -> Tensor:
            seen = (torch.arange(6)[:, None] - torch.arange(3)).abs() <= 1
            return F.scaled_dot_product_attention(q, k, k, attn_mask=added(seen, LOWEST))

    inputs = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 3, 4)
    program = run(capture(Cross().eval(), inputs), [canonicalize, fold_constants, fuse_attention])
    (node,) = program.graph.find_nodes(op="call_function", target=attention)
    assert node.args[3] is not None and node.args[6:8] == (None, None)


sizes = st.integers(1, 9)
limits = st.none() | st.integers(-6, 9)


@settings(max_examples=200)
@given(queries=sizes, keys=sizes, low=limits, high=limits)
def test_a_constant_band_is_read_as_the_mask_that_it_is(
    queries: int, keys: int, low: int | None, high: int | None
) -> None:
    d = torch.arange(keys) - torch.arange(queries)[:, None]
    mask = (d >= (-99 if low is None else low)) & (d <= (99 if high is None else high))
    band = band_of_mask(mask.expand(2, 1, queries, keys))
    if band is None:
        assert not mask.any()
        return
    again = (d >= (-99 if band.low is None else band.low)) & (d <= (99 if band.high is None else band.high))
    assert torch.equal(again, mask)


@given(st.integers(2, 7), st.integers(0, 6), st.integers(0, 6))
def test_a_band_with_a_hole_is_none(n: int, row: int, column: int) -> None:
    mask = torch.ones(n, n, dtype=torch.bool).tril(1).triu(-1)
    mask[row % n, column % n] ^= True
    band = band_of_mask(mask)
    d = torch.arange(n) - torch.arange(n)[:, None]
    low, high = (band.low, band.high) if band else (None, None)
    again = (d >= (-99 if low is None else low)) & (d <= (99 if high is None else high))
    assert band is None or torch.equal(again, mask)
    assert band_of_mask(torch.stack([mask, ~mask])) is None


def test_bands_meet() -> None:
    assert Band(None, 3) & Band(-2, 5) == Band(-2, 3)
    assert Band(-2, None).complement == Band(None, -3) and Band(-1, 1).complement is None
