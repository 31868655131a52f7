"""``l0compile::top_places``: where the largest numbers of each row stand."""

import torch
from torch import Tensor

from l0compile.errors import InputError

LARGEST_ROW, MOST_ORDERED = 1 << 16, 1 << 11
"""What kernels take: a row lies not far from the first cache; ordering compares all that are taken with each other."""


@torch.library.custom_op("l0compile::top_places", mutates_args=())
def top_places(x: Tensor, count: int, largest: bool, ordered: bool) -> Tensor:
    """Places of the ``count`` largest or smallest numbers of each row; of equal ones the first come first.

    Args:
        x: [rows, n] float32 or int32. NaN is larger than every number, as in PyTorch's ``topk`` and ``sort``.
        count: from 1 to n.
        largest: the largest ones instead of the smallest.
        ordered: by their numbers, the first one the best; else by their places.

    Returns:
        [rows, count] int64.

    Raises:
        InputError: the rank or the count do not fit.
    """
    _check(x, count)
    best = torch.sort(x, dim=1, descending=largest, stable=True).indices[:, :count]
    return best.clone() if ordered else best.sort(1).values


@top_places.register_fake
def _(x: Tensor, count: int, largest: bool, ordered: bool) -> Tensor:
    _check(x, count)
    return x.new_empty(x.shape[0], count, dtype=torch.int64)


def _check(x: Tensor, count: int) -> None:
    if x.ndim != 2 or not 0 < count <= x.shape[1]:
        raise InputError(
            f"l0compile::top_places: expected rows [rows, n] and a count from 1 to n, got {tuple(x.shape)} and {count}"
        )
