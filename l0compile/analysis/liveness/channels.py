"""Constants for each channel of axis 1: one number, or a plane of numbers that differ by position."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from l0compile.analysis.liveness.lattice import Fact
from l0compile.ir.nodes import is_static

# Elements of a constant that differs by position; a larger one counts as unknown, or stays as it is.
LARGEST_PLANES = 1 << 20


def known_channels(fact: Fact, size: Any) -> tuple[Tensor, Tensor]:
    """(bool [size], values [1, size, *positions]): the channels of axis 1 that are wholly known and alike in a batch.

    Values are 0 where a channel is not known; an axis of positions has size 1 where all are alike. A symbolic number of
    channels counts as one, since what is known of them is the same for all.
    """
    size = size if is_static(size) else 1
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    first = value[:1]
    whole = by_channel(known & (value == first)).all(1)
    zero = torch.zeros((), dtype=value.dtype)
    chosen = torch.where(whole.reshape(1, -1, *[1] * (value.ndim - 2)), first, zero)
    return whole.expand(size), without_repeats(chosen).expand(1, size, *[-1] * (value.ndim - 2))


def by_channel(value: Tensor) -> Tensor:
    """[batch, channels, ...] -> [channels, everything else]."""
    return value.movedim(1, 0).reshape(value.shape[1], -1)


def without_repeats(value: Tensor) -> Tensor:
    """``value`` with each axis of positions cut to size 1 if nothing differs along it."""
    for axis in range(2, value.ndim):
        first = value.narrow(axis, 0, 1)
        if bool((value == first).all()):
            value = first
    return value


def is_flat(value: Tensor) -> bool:
    """Whether the values of each channel are one number."""
    return prod(value.shape[2:]) == 1


def can_hold(sizes: Sequence[Any]) -> bool:
    """Whether a constant of these sizes can be stored: they are numbers, and it is not too large."""
    return all(map(is_static, sizes)) and prod(sizes) <= LARGEST_PLANES


def spread(value: Tensor, positions: Sequence[Any]) -> Tensor | None:
    """Values [1, n, *1 or positions] at every position; None where they cannot be stored."""
    if not can_hold([value.shape[1], *positions]):
        return None
    return value.expand(1, value.shape[1], *positions)


def fact_of(known: Tensor, value: Tensor) -> Fact:
    """The fact of wholly known channels (bool [n]) with values [1, n, *positions]."""
    return Fact(known.reshape(1, -1, *[1] * (value.ndim - 2)), without_repeats(value))


def place(chosen: Tensor, value: Tensor) -> Tensor:
    """Values [1, number chosen, *positions] at the channels that are ``chosen`` (bool [n]), 0 at the others."""
    result = value.new_zeros(1, len(chosen), *value.shape[2:])
    result[:, chosen] = value
    return result
