"""What packed operators give instead of float32 [T, F, L], for the operator that reads it: words of narrow numbers.

Their arguments ``inverse``, ``zero_point`` and ``pairs`` say which. With ``inverse`` [F], results are quantised as
``l0compile::packed_quantize`` does it, with ``zero_point``: [T, F / 4, L] int32. ``pairs`` is "features" for words of
two features in bfloat16, as ``l0compile::packed_bfloat16`` has them: [T, F / 2, L]; or "tokens" for words of two
tokens, as ``l0compile::packed_token_pairs`` has them: [T, F, L / 2]. With neither, they stay float32.
"""

import torch
from torch import Tensor

from l0compile.errors import InputError
from l0compile.ir.ops.words import features_of, to_words

LEVELS = 255
"""The largest quantised activation."""
PAIRS = ("", "features", "tokens")


def in_words(y: Tensor, inverse: Tensor | None, zero_point: int, pairs: str) -> Tensor:
    """The result that is y [T, F, L] in float32.

    Raises:
        InputError: ``pairs`` is unknown, or the features or lanes are no whole words.
    """
    sizes = extents(tuple(y.shape), inverse is not None, pairs)
    if inverse is not None:
        made = to_words(rounded_to_levels(y.transpose(1, 2) * inverse, zero_point)).transpose(1, 2)
    elif pairs == "features":
        made = to_words(y.transpose(1, 2).to(torch.bfloat16)).transpose(1, 2)
    else:
        made = to_words(y.to(torch.bfloat16)) if pairs else y
    assert tuple(made.shape) == sizes
    return made.contiguous()


def in_words_like(y: Tensor, inverse: Tensor | None, pairs: str) -> Tensor:
    """An empty tensor of the shape and type that ``in_words`` gives."""
    narrow = inverse is not None or bool(pairs)
    sizes = extents(tuple(y.shape), inverse is not None, pairs)
    return y.new_empty(sizes, dtype=torch.int32 if narrow else torch.float32)


def extents(sizes: tuple[int, ...], integers: bool, pairs: str) -> tuple[int, ...]:
    """The shape of the result that is of shape ``sizes`` in float32."""
    if pairs not in PAIRS or (integers and pairs):
        raise InputError(f"packed operator: expected pairs in {PAIRS} and none of integers, got {pairs!r}")
    tiles, features, lanes = sizes
    each = features_of(torch.int8 if integers else torch.bfloat16)
    axis = lanes if pairs == "tokens" else features
    if (integers or pairs) and axis % each:
        raise InputError(f"packed operator: expected whole words of {each}, got {tuple(sizes)}")
    if pairs == "tokens":
        return tiles, features, lanes // each
    return (tiles, features // each, lanes) if integers or pairs else (tiles, features, lanes)


def rounded_to_levels(scaled: Tensor, zero_point: int) -> Tensor:
    """clamp(round(scaled) + zero_point, 0, LEVELS) as uint8, ties to even; NaN becomes 0."""
    within = scaled.nan_to_num(-zero_point).clamp(-zero_point, LEVELS - zero_point)
    return (within.round() + zero_point).to(torch.uint8)
