"""Carry a mask through a reshape: find which input axes make which output axes, symbolic sizes included."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from l0compile.ir.nodes import expression, is_static

AxisGroup = tuple[tuple[int, int], tuple[int, int]]  # input axes [start, end), output axes [start, end)


def axis_groups(before: Sequence[Any], after: Sequence[Any]) -> list[AxisGroup]:
    """The finest split of a reshape into runs of axes with equal element counts on both sides."""
    groups: list[AxisGroup] = []
    i = j = 0
    while i < len(before) or j < len(after):
        end_i, end_j = _smallest(before, after, i, j)
        groups.append(((i, end_i), (j, end_j)))
        i, j = end_i, end_j
    return groups


def _smallest(before: Sequence[Any], after: Sequence[Any], i: int, j: int) -> tuple[int, int]:
    candidates = [
        (a, b) for a in range(i, len(before) + 1) for b in range(j, len(after) + 1) if (a, b) != (i, j)
    ]
    for a, b in sorted(candidates, key=lambda pair: (pair[0] + pair[1], pair)):
        rest = (a == len(before)) == (b == len(after)) or _count(before[a:]) == _count(after[b:])
        if rest and _count(before[i:a]) == _count(after[j:b]):
            return a, b
    return len(before), len(after)


def _count(sizes: Sequence[Any]) -> Any:
    return prod(expression(size) for size in sizes)


def through(mask: Tensor, before: Sequence[Any], after: Sequence[Any]) -> Tensor | None:
    """A mask or value over ``before`` as one over ``after``; None when it varies along axes that split symbolically."""
    result = mask.reshape([1] * (len(before) - mask.ndim) + list(mask.shape))
    shape: list[int] = []
    full: list[int] = []
    for (i, end_i), (j, end_j) in axis_groups(before, after):
        if all(result.shape[axis] == 1 for axis in range(i, end_i)):
            full += [1] * (end_i - i)
            shape += [1] * (end_j - j)
        elif all(map(is_static, [*before[i:end_i], *after[j:end_j]])):
            full += before[i:end_i]
            shape += after[j:end_j]
        else:
            return None
    return result.expand(full).reshape(shape)
