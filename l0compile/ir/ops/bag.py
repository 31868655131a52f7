"""``l0compile::bag``: sums or means over lists of rows, as a graph network takes them over neighbours."""

import torch
from torch import Tensor

from l0compile.errors import InputError


@torch.library.custom_op("l0compile::bag", mutates_args=())
def bag(
    x: Tensor, indices: Tensor, starts: Tensor, weights: Tensor | None = None, mean: bool = False
) -> Tensor:
    """y[i] = sum over e from starts[i] to before starts[i + 1] of weights[e] x[indices[e]]; the last list ends with E.

    This is the first result of ``aten.embedding_bag``, whose code it runs. Empty lists give zeros.

    Args:
        x: [rows, F], floating.
        indices: [E], int32 or int64, from 0 to rows - 1.
        starts: [lists], ascending, dtype of ``indices``.
        weights: [E], dtype of x; None: all are 1.
        mean: divide by the length of each list; without weights only.

    Returns:
        [lists, F], contiguous.

    Raises:
        InputError: the shapes do not fit, or a mean has weights.
    """
    _check(x, indices, starts, weights, mean)
    return torch.embedding_bag(x, indices, starts, False, int(mean), False, weights)[0]


@bag.register_fake
def _(
    x: Tensor, indices: Tensor, starts: Tensor, weights: Tensor | None = None, mean: bool = False
) -> Tensor:
    _check(x, indices, starts, weights, mean)
    return x.new_empty(starts.shape[0], x.shape[1])


def _check(x: Tensor, indices: Tensor, starts: Tensor, weights: Tensor | None, mean: bool) -> None:
    ranks = (x.ndim, indices.ndim, starts.ndim, 1 if weights is None else weights.ndim)
    if ranks != (2, 1, 1, 1):
        raise InputError(
            f"l0compile::bag: expected x [rows, features] and indices, starts and weights of rank 1, got ranks {ranks}"
        )
    if mean and weights is not None:
        raise InputError("l0compile::bag: expected no weights for a mean, got some; divide them yourself")
