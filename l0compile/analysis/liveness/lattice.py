"""The lattice of facts: an element is unknown, or a known constant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l0compile.ir.nodes import is_static


@dataclass(frozen=True)
class Fact:
    """The knowledge of a tensor.

    Attributes:
        known: bool, rank of the tensor; size 1 on axes along which knowledge is the same (batch, tokens, every
            symbolic axis), else the tensor's size.
        value: the value where known, anything elsewhere; dtype of the tensor, rank of ``known``.
    """

    known: Tensor
    value: Tensor

    @property
    def zero(self) -> Tensor:
        """Where the tensor is known to be zero; the broadcast of both fields."""
        return self.known & (self.value == 0)

    @property
    def fully_known(self) -> bool:
        """Whether every element is known."""
        return bool(self.known.all())

    def last_axis(self) -> tuple[Tensor, Tensor]:
        """(known, value) of each feature, [1] or [size]: a feature is known if it is the same constant everywhere."""
        known, value = torch.broadcast_tensors(self.known, self.value)
        if known.numel() == known.shape[-1]:
            return known.reshape(-1), value.reshape(-1)
        known, value = known.reshape(-1, known.shape[-1]), value.reshape(-1, value.shape[-1])
        return known.all(0) & (value == value[:1]).all(0), value[0]


def unknown(rank: int, dtype: torch.dtype = torch.float32) -> Fact:
    """The fact of a tensor of which nothing is known."""
    return Fact(torch.zeros([1] * rank, dtype=torch.bool), torch.zeros([1] * rank, dtype=dtype))


def constant(value: Tensor) -> Fact:
    """The fact of a constant."""
    return Fact(torch.ones([1] * value.ndim, dtype=torch.bool), value)


def fit(tensor: Tensor, shape: Sequence[Any]) -> Tensor | None:
    """A mask or value with size 1 or the static size on every axis; None if it varies along a symbolic one."""
    tensor = tensor.reshape([1] * (len(shape) - tensor.ndim) + list(tensor.shape))
    for axis, size in enumerate(shape):
        if tensor.shape[axis] != 1 and not (is_static(size) and size == tensor.shape[axis]):
            return None
    return tensor


def reduce_to(mask: Tensor, shape: Sequence[Any]) -> Tensor:
    """The mask of an operand, from that of the result: any() over the axes along which it was broadcast."""
    while mask.ndim > len(shape):
        mask = mask.any(0)
    if mask.ndim < len(shape):
        mask = mask.reshape([1] * (len(shape) - mask.ndim) + list(mask.shape))
    for axis, size in enumerate(shape):
        if mask.shape[axis] != 1 and is_static(size) and size == 1:
            mask = mask.any(axis, keepdim=True)
    return mask
