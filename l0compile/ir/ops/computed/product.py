"""``l0compile::product``: matrix products of a batch."""

import torch
from torch import Tensor

from l0compile.errors import InputError
from l0compile.ir.nodes import same_size


@torch.library.custom_op("l0compile::product", mutates_args=())
def product(left: Tensor, right: Tensor, transposed: bool) -> Tensor:
    """left @ right, or left @ rightᵀ, for each of a batch.

    Args:
        left: [B, m, k] float32, or [1, m, k] for all of a batch.
        right: [B, k, n] float32, or [1, k, n] for all of a batch; ``transposed``: [B, n, k], as keys lie.
        transposed: see ``right``.

    Returns:
        [B, m, n].

    Raises:
        InputError: the shapes do not fit.
    """
    _check(left, right, transposed)
    return left @ (right.transpose(1, 2) if transposed else right)


@product.register_fake
def _(left: Tensor, right: Tensor, transposed: bool) -> Tensor:
    _check(left, right, transposed)
    batch = right.shape[0] if same_size(left.shape[0], 1) else left.shape[0]
    return left.new_empty(batch, left.shape[1], right.shape[1 if transposed else 2])


def _check(left: Tensor, right: Tensor, transposed: bool) -> None:
    fits = left.ndim == right.ndim == 3 and same_size(left.shape[2], right.shape[2 if transposed else 1])
    if fits and not same_size(left.shape[0], 1) and not same_size(right.shape[0], 1):
        fits = same_size(left.shape[0], right.shape[0])
    if not fits:
        wanted = "[B, n, k]" if transposed else "[B, k, n]"
        raise InputError(
            f"l0compile::product: expected [B, m, k] and {wanted}, got {tuple(left.shape)} and {tuple(right.shape)}"
        )
