"""Operators that only move elements: views, cuts, joins."""

from itertools import pairwise
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.fuzz.operator_table import OPERATORS, Apply, Attributes, Draw, Operator
from tests.fuzz.shape import MAX_ELEMENTS, Shape


def permute(x: Tensor, order: list[int]) -> Tensor:
    return x.permute(order)


def flatten(x: Tensor, axis: int) -> Tensor:
    return x.flatten(axis, axis + 1)


def unflatten(x: Tensor, axis: int, parts: list[int]) -> Tensor:
    return x.unflatten(axis, parts)


def cut(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(start, end, step),)]


def take(x: Tensor, axis: int, index: int) -> Tensor:
    return x.select(axis, index)


def pieces(x: Tensor, axis: int, sizes: list[int]) -> tuple[Tensor, ...]:
    return x.split(sizes, axis)


def halves(x: Tensor, axis: int) -> tuple[Tensor, ...]:
    return x.chunk(2, axis)


def rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


def join(*tensors: Tensor, axis: int) -> Tensor:
    return torch.cat(tensors, axis)


def stack(*tensors: Tensor, axis: int) -> Tensor:
    return torch.stack(tensors, axis)


def expand(x: Tensor, axis: int, count: int) -> Tensor:
    x = x.unsqueeze(axis)
    return x.expand(*x.shape[:axis], count, *x.shape[axis + 1 :])


def repeat_heads(x: Tensor, axis: int, count: int) -> Tensor:
    """What grouped-query attention does to keys: each slice several times, next to itself."""
    return expand(x, axis + 1, count).flatten(axis, axis + 1)


def pad(x: Tensor, left: int, right: int, value: float) -> Tensor:
    return F.pad(x, (left, right), value=value)


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _permutation(draw: Draw, x: Shape) -> Attributes:
    return {"order": draw(st.permutations(range(x.rank)))}


def _flattened(draw: Draw, x: Shape) -> Attributes:
    return {"axis": draw(st.integers(0, x.rank - 2))}


def _parts(draw: Draw, x: Shape) -> Attributes:
    axis = draw(st.sampled_from(x.axes(4)))
    first = draw(st.sampled_from([n for n in (2, 4, 3) if x.small[axis] % n == 0] or [1]))
    return {"axis": axis, "parts": [first, x.small[axis] // first]}


def _cut(draw: Draw, x: Shape) -> Attributes:
    axis = draw(st.sampled_from(x.axes(3)))
    start = draw(st.integers(0, x.small[axis] - 2))
    end = draw(st.integers(start + 1, x.small[axis]))
    return {"axis": axis, "start": start, "end": end, "step": draw(st.sampled_from([1, 2]))}


def _take(draw: Draw, x: Shape) -> Attributes:
    axis = draw(st.sampled_from(x.axes()))
    return {"axis": axis, "index": draw(st.integers(-x.small[axis], x.small[axis] - 1))}


def _pieces(draw: Draw, x: Shape) -> Attributes:
    axis = draw(st.sampled_from(x.axes(3)))
    cuts = draw(st.lists(st.integers(1, x.small[axis] - 1), min_size=1, max_size=2, unique=True).map(sorted))
    edges = [0, *cuts, x.small[axis]]
    return {"axis": axis, "sizes": [b - a for a, b in pairwise(edges)]}


def _halves(draw: Draw, x: Shape) -> Attributes:
    return {"axis": draw(st.sampled_from(x.axes(2)))}


def _expansion(draw: Draw, x: Shape) -> Attributes:
    return {"axis": draw(st.integers(0, x.rank - 1)), "count": draw(st.sampled_from([2, 3]))}


def _repeats(draw: Draw, x: Shape) -> Attributes:
    return {"axis": draw(st.sampled_from(x.axes())), "count": 2}


def _padding(draw: Draw, x: Shape) -> Attributes:
    return {"left": draw(st.integers(0, 2)), "right": 1, "value": draw(st.sampled_from([0.0, 1.0]))}


def joins(x: Shape, y: Shape) -> list[int]:
    """Axes along which the two can be concatenated: the others are equal, and it is fixed in both."""
    if not (x.floating and x.dtype == y.dtype and x.rank == y.rank):
        return []
    found = []
    for axis in range(x.rank):
        rest = [i for i in range(x.rank) if i != axis]
        equal = all((x.small[i], x.large[i]) == (y.small[i], y.large[i]) for i in rest)
        if equal and x.fixed(axis) and y.fixed(axis):
            found.append(axis)
    return found


def _join(draw: Draw, x: Shape, y: Shape) -> Attributes:
    return {"axis": draw(st.sampled_from(joins(x, y)))}


def _stack(draw: Draw, x: Shape, y: Shape) -> Attributes:
    return {"axis": draw(st.integers(0, x.rank))}


def _operator(function: Any, fits: Any, attributes: Any, operands: int = 1) -> Operator:
    return Operator(lambda *shapes, **a: Apply(function, **a), fits, attributes, operands)


def small(x: Shape, rank: int = 1, grows: int = 1) -> bool:
    return x.floating and rank <= x.rank <= 4 and torch.Size(x.large).numel() * grows <= MAX_ELEMENTS


OPERATORS.update(
    permute=_operator(permute, lambda x: small(x, 2), _permutation),
    flatten=_operator(flatten, lambda x: small(x, 2), _flattened),
    unflatten=_operator(unflatten, lambda x: small(x) and x.axes(4) != [], _parts),
    cut=_operator(cut, lambda x: small(x) and x.axes(3) != [], _cut),
    take=_operator(take, lambda x: small(x, 2) and x.axes() != [], _take),
    pieces=_operator(pieces, lambda x: small(x) and x.axes(3) != [], _pieces),
    halves=_operator(halves, lambda x: small(x) and x.axes(2) != [], _halves),
    rotate_half=_operator(
        rotate_half, lambda x: small(x, 2) and x.fixed(-1) and x.small[-1] % 2 == 0, lambda draw, x: {}
    ),
    expand=_operator(expand, lambda x: small(x, 1, 3), _expansion),
    repeat_heads=_operator(repeat_heads, lambda x: small(x, 2, 2) and x.axes() != [], _repeats),
    pad=_operator(pad, lambda x: small(x, 2, 2), _padding),
    enlarge=_operator(enlarge, lambda x: small(x, 3, 4) and x.rank in (3, 4), lambda draw, x: {}),
    join=_operator(join, lambda x, y: small(x, 1, 2) and joins(x, y) != [], _join, 2),
    stack=_operator(
        stack, lambda x, y: small(x, 1, 2) and (x.small, x.large) == (y.small, y.large), _stack, 2
    ),
)
