"""``l0compile::rope``: rotary position embedding on [batch, token, feature] tensors, heads side by side."""

import torch
from torch import Tensor

from l0compile.errors import InputError


@torch.library.custom_op("l0compile::rope", mutates_args=())
def rope(x: Tensor, cos: Tensor, sin: Tensor, heads: int, interleaved: bool = False) -> Tensor:
    """x * cos + rotate_half(x) * sin, head by head; rotate_half([a, b]) = [-b, a] for the two halves of a head.

    Interleaved: neighbouring features are the parts of a complex number, which is multiplied by cos + i sin.

    Args:
        x: [B, S, heads*D] with D even, floating.
        cos, sin: [B, S, D] or [1, S, D], the same for all heads; with D/2 in place of D if interleaved.
        heads: number of heads.

    Returns:
        [B, S, heads*D], contiguous.

    Raises:
        InputError: the features are not ``heads`` heads of even width, or cos and sin are not as wide as a head, or as
            half of one if interleaved.
    """
    _check(x, cos, sin, heads, interleaved)
    if interleaved:
        even, odd = x.unflatten(-1, (heads, -1, 2)).unbind(-1)
        cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(2).contiguous()
    by_head = x.unflatten(-1, (heads, -1))
    low, high = by_head.chunk(2, dim=-1)
    turned = torch.cat([-high, low], dim=-1)
    return (by_head * cos.unsqueeze(2) + turned * sin.unsqueeze(2)).flatten(-2).contiguous()


@rope.register_fake
def _(x: Tensor, cos: Tensor, sin: Tensor, heads: int, interleaved: bool = False) -> Tensor:
    _check(x, cos, sin, heads, interleaved)
    return x.new_empty(x.shape)


def _check(x: Tensor, cos: Tensor, sin: Tensor, heads: int, interleaved: bool) -> None:
    width = x.shape[-1] // heads if x.ndim == 3 and heads > 0 else 0
    if not width or width * heads != x.shape[-1] or width % 2:
        raise InputError(
            f"l0compile::rope: expected x [batch, tokens, features] with {heads} heads of even width, "
            f"got {tuple(x.shape)}"
        )
    angles = width // 2 if interleaved else width
    if not cos.ndim == sin.ndim == 3 or cos.shape[-1] != angles or sin.shape[-1] != angles:
        raise InputError(
            f"l0compile::rope: expected cos and sin [batch, tokens, {angles}], "
            f"got {tuple(cos.shape)} and {tuple(sin.shape)}"
        )
