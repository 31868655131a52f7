"""Images of 8-bit integers in planes: four channels of a pixel lie side by side in a word of 32 bits.

An image is [N, ceil(C / 4), size] int32, with the layouts of :mod:`l0compile.ir.ops.planes`. All that is no pixel is
the zero point in each byte, so that it adds nothing to a convolution; of channels past C, which only meet zero weights,
it may be anything.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.planes import Planes, pixel_index
from l0compile.ir.ops.quantized import FEATURES, quantize, scaled
from l0compile.ir.ops.results import rounded_to_levels
from l0compile.ir.ops.words import from_words, to_words


def word_of(zero_point: int) -> int:
    """Four zero points side by side, as int32."""
    return int(to_words(torch.full((FEATURES,), zero_point, dtype=torch.uint8)))


@torch.library.custom_op("l0compile::quantize_planes", mutates_args=())
def quantize_planes(x: Tensor, inverse: Tensor, zero_point: int) -> Tensor:
    """``quantize`` of planes: x [N, C, size] float32 -> words [N, ceil(C / 4), size] int32; inverse [C].

    The zeros around the pixels become zero points by that alone.
    """
    return to_words(quantize(x.transpose(1, 2), inverse, zero_point)).transpose(1, 2).contiguous()


@quantize_planes.register_fake
def _(x: Tensor, inverse: Tensor, zero_point: int) -> Tensor:
    return x.new_empty(x.shape[0], -(-x.shape[1] // FEATURES), x.shape[2], dtype=torch.int32)


@torch.library.custom_op("l0compile::copy_word_planes", mutates_args=())
def copy_word_planes(
    x: Tensor,
    source: Sequence[int],
    result: Sequence[int],
    step: Sequence[int],
    phases: Sequence[int],
    zero_point: int,
) -> Tensor:
    """``copy_planes`` of words: what is no pixel of the result is ``zero_point`` in each byte."""
    here, there = Planes(*source), Planes(*result)
    image = x[:, :, pixel_index(here)]
    y = x.new_full((x.shape[0], len(phases) // 2, x.shape[1], there.size), word_of(zero_point))
    for number, (row, column) in enumerate(zip(phases[::2], phases[1::2], strict=True)):
        part = image[:, :, row :: step[0], column :: step[1]][:, :, : there.height, : there.width]
        y[:, number, :, pixel_index(there)[: part.shape[2], : part.shape[3]]] = part
    return y.flatten(1, 2)


@copy_word_planes.register_fake
def _(x, source, result, step, phases, zero_point):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], x.shape[1] * (len(phases) // 2), result[4])


@torch.library.custom_op("l0compile::packed_int8_conv2d", mutates_args=())
def packed_int8_conv2d(
    x: Tensor,
    data: Tensor,
    offsets: Tensor,
    indptr: Tensor | None,
    start: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    inverse: Tensor | None,
    n: int,
    result: Sequence[int],
    activation: str,
    zero_point: int = 0,
    fits16: bool = False,
) -> Tensor:
    """activation((W * x + start) * scale + bias + residual) on planes: words [N, C / 4, size] -> float32 [N, n, size'].

    With ``inverse`` [n] the result is quantised, with ``zero_point``: [N, n / 4, size'] int32.

    Column p of W multiplies the ``body`` words of an image of x from offsets[p] on, see ``packed_conv2d``: four
    channels seen through one tap. data: [nnz, 1, rows] int32, blocks of ``rows`` x one word.

    Args:
        start: [n] int32, what makes up for the zero point of x: -zero_point times the sum of each row.
        scale, bias: [n] float32.
        residual: [N, n, size'] float32 in the layout of the result.
        result: ``Planes.numbers()`` of the result.
        fits16: as ``packed_int8_linear`` has it.
    """
    planes, row_blocks = Planes(*result), -(-n // data.shape[2])
    if indptr is None:
        indptr = torch.arange(row_blocks + 1, dtype=torch.int32) * offsets.shape[0]
        offsets = offsets.repeat(row_blocks)
    pixels = pixel_index(planes).flatten()
    places = offsets[:, None] + (pixels - planes.lead)
    sums = [
        _row_block(x.flatten(1)[:, places[begin:end]], data[begin:end, 0])
        for begin, end in pairwise(indptr.tolist())
    ]
    y = scaled(torch.cat(sums, 2)[..., :n] + start, scale, bias).transpose(1, 2)
    if residual is not None:
        y = y + residual[:, :, pixels]
    y = activate(y, activation)
    if inverse is None:
        whole = y.new_zeros(x.shape[0], n, planes.size)
    else:
        y = to_words(rounded_to_levels(y * inverse[:, None], zero_point).transpose(1, 2)).transpose(1, 2)
        whole = x.new_full((x.shape[0], n // FEATURES, planes.size), word_of(zero_point))
    whole[:, :, pixels] = y
    return whole


def _row_block(seen: Tensor, data: Tensor) -> Tensor:
    """Words [N, columns, pixels] and weights [columns, rows] -> sums of products [N, pixels, rows].

    Columns stay apart even where two of them read the same place: a zero point counts for both.
    """
    numbers = from_words(seen.transpose(1, 2), torch.uint8).double()
    return numbers @ from_words(data.T, torch.int8).double().T


@packed_int8_conv2d.register_fake
def _(x, data, offsets, indptr, start, scale, bias, residual, inverse, n, result, *rest, **others):  # type: ignore[no-untyped-def]
    if inverse is not None:
        return x.new_empty(x.shape[0], n // FEATURES, result[4])
    return x.new_empty(x.shape[0], n, result[4], dtype=torch.float32)
