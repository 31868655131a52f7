"""Operators that write into their first argument instead of a copy of it, and can be undone."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

Undo = list[Callable[[], Any]]
"""What takes back the writing done so far, to be called last first."""


def index_copy(undo: Undo, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Do ``aten.index_copy``. Reading the old rows raises for an index past the end before anything is written."""
    old = x.index_select(dim, index)
    undo.append(partial(x.index_copy_, dim, index, old))
    return x.index_copy_(dim, index, source)


def index_put(
    undo: Undo, x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """Do ``aten.index_put`` in the same way."""
    old = torch.ops.aten.index.Tensor(x, indices).clone()
    undo.append(partial(torch.ops.aten.index_put_, x, indices, old))
    return torch.ops.aten.index_put_(x, indices, values, accumulate)


def slice_scatter(
    undo: Undo, x: Tensor, source: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1
) -> Tensor:
    """Do ``aten.slice_scatter``."""
    return _over(undo, x, torch.ops.aten.slice.Tensor(x, dim, start, end, step), source)


def select_scatter(undo: Undo, x: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    """Do ``aten.select_scatter``."""
    return _over(undo, x, x.select(dim, index), source)


def _over(undo: Undo, x: Tensor, part: Tensor, source: Tensor) -> Tensor:
    undo.append(partial(part.copy_, part.clone()))
    part.copy_(source)
    return x


WRITING: dict[str, Callable[..., Tensor]] = {
    "aten.index_copy.default": index_copy,
    "aten.index_put.default": index_put,
    "aten.slice_scatter.default": slice_scatter,
    "aten.select_scatter.default": select_scatter,
}
"""What runs in place of an instruction whose first argument may be written to."""
