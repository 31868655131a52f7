"""Images in planes: the layout of convolution kernels, and its operators, each with the PyTorch code that defines it.

Layout. An image tensor [N, C, H, W] travels as [N, C, size]: each channel is one flat plane, pixel (y, x) of it at
lead + y * pitch + x. Everything else of a plane is zero: the ``lead`` before the first row, the gap of pitch - W after
each row, and the rest behind the last. A tap of a convolution is then the same plane read from another place, padding
included, so pixels are vector lanes and a 3x3 convolution is nine shifted 1x1 ones, without a mask in the inner loop.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.bsr import from_blocks

# Planes begin, and their pixels begin, at whole cache lines of float32.
LINE = 16
# Kernels compute a multiple of this: half a register of the widest kind, or one or two of the others.
STEP = 8


@dataclass(frozen=True)
class Planes:
    """Where the pixels of an image of height x width lie in a plane of ``size`` numbers."""

    height: int
    width: int
    pitch: int
    lead: int
    size: int

    @property
    def body(self) -> int:
        """The numbers that a kernel computes: from the first pixel to the end of the last row, rounded up."""
        return -(-self.height * self.pitch // STEP) * STEP

    @classmethod
    def rows(cls, height: int, width: int) -> "Planes":
        """An ordinary contiguous image."""
        return cls(height, width, width, 0, height * width)

    @classmethod
    def bordered(cls, height: int, width: int, pitch: int, before: int, reach: int) -> "Planes":
        """At least ``before`` zeros in front of the first pixel, and ``reach`` numbers from it to the end.

        The size is an odd number of cache lines: with an even one the channels of a pixel share few cache sets.
        """
        lead = -(-before // LINE)
        lines = lead + -(-max(reach, height * pitch) // LINE)
        return cls(height, width, pitch, lead * LINE, (lines + 1 - lines % 2) * LINE)

    def numbers(self) -> list[int]:
        """As operator arguments."""
        return [self.height, self.width, self.pitch, self.lead, self.size]


def pixel_index(planes: Planes) -> Tensor:
    """[H, W] positions of the pixels in a plane."""
    return planes.lead + torch.arange(planes.height)[:, None] * planes.pitch + torch.arange(planes.width)


@torch.library.custom_op("l0compile::copy_planes", mutates_args=())
def copy_planes(
    x: Tensor,
    source: Sequence[int],
    result: Sequence[int],
    step: Sequence[int],
    phases: Sequence[int],
    lowest: bool = False,
) -> Tensor:
    """Move images between layouts, and cut them in phases for strided convolutions: [N, C, size] -> [N, F * C, size'].

    Pixel (y, x) of result channel f * C + c is pixel (y * step[0] + phases[2 f], x * step[1] + phases[2 f + 1]) of
    channel c, and zero where that lies outside of the image.

    Args:
        source, result: ``Planes.numbers()`` of both sides.
        lowest: what is no pixel is minus infinity, for a maximum, instead of zero.
    """
    here, there = Planes(*source), Planes(*result)
    image = x[:, :, pixel_index(here)]
    around = -math.inf if lowest else 0.0
    y = x.new_full((x.shape[0], len(phases) // 2, x.shape[1], there.size), around)
    for number, (row, column) in enumerate(zip(phases[::2], phases[1::2], strict=True)):
        part = image[:, :, row :: step[0], column :: step[1]][:, :, : there.height, : there.width]
        y[:, number, :, pixel_index(there)[: part.shape[2], : part.shape[3]]] = part
    return y.flatten(1, 2)


@copy_planes.register_fake
def _(x, source, result, step, phases, lowest=False):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], x.shape[1] * (len(phases) // 2), result[4])


@torch.library.custom_op("l0compile::packed_conv2d", mutates_args=())
def packed_conv2d(
    x: Tensor,
    data: Tensor,
    offsets: Tensor,
    indptr: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    n: int,
    result: Sequence[int],
    activation: str,
    slope: Tensor | None = None,
) -> Tensor:
    """activation(W * x + bias + residual) on planes: x [N, C, size] -> [N, n, size'].

    Column p of W multiplies the ``body`` numbers of an image of x (all its planes in a row) from offsets[p] on: one
    input channel seen through one tap. W is held in blocks of ``rows`` x 1: data [nnz, 1, rows] as in ``bsr_linear``,
    offsets [nnz] int32. Dense: indptr is None, every block is there, and offsets has one entry per column of W.

    Args:
        residual: [N, n, size'] in the layout of the result.
        result: ``Planes.numbers()`` of the result.
        slope: [n] of the activation "prelu".
    """
    planes, rows = Planes(*result), data.shape[2]
    row_blocks = -(-n // rows)
    if indptr is None:
        columns = offsets.shape[0]
        indptr = torch.arange(row_blocks + 1, dtype=torch.int32) * columns
        offsets = offsets.repeat(row_blocks)
    taken, column = torch.unique(offsets, return_inverse=True)
    weight = from_blocks(data, column, indptr, n, len(taken))
    pixels = pixel_index(planes).flatten()
    seen = x.flatten(1)[:, taken[:, None] + (pixels - planes.lead)]
    y = weight @ seen
    if bias is not None:
        y = y + bias[:, None]
    if residual is not None:
        y = y + residual[:, :, pixels]
    whole = x.new_zeros(x.shape[0], n, planes.size)
    whole[:, :, pixels] = activate(y, activation, None if slope is None else slope[:, None])
    return whole


@packed_conv2d.register_fake
def _(x, data, offsets, indptr, bias, residual, n, result, activation, slope=None):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], n, result[4])


@torch.library.custom_op("l0compile::packed_window", mutates_args=())
def packed_window(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    channels: int,
    offsets: Sequence[int],
    result: Sequence[int],
    activation: str,
) -> Tensor:
    """Depthwise convolution, or maximum over a window, on planes: x [N, F * channels, size] -> [N, channels, size'].

    Tap t of channel c at place p of the body is x[c * size + offsets[t] + p], where x is an image with all its planes
    in a row. The result is activation(sum of weight[c, t] * tap + bias[c]), or activation(largest tap + bias[c])
    without a weight.

    Args:
        weight: [channels, T].
        result: ``Planes.numbers()`` of the result.
    """
    planes = Planes(*result)
    pixels = pixel_index(planes).flatten()
    taps = torch.tensor(offsets)[:, None] + (pixels - planes.lead)
    seen = x.flatten(1)[:, (torch.arange(channels) * x.shape[2])[:, None, None] + taps]
    y = seen.amax(2) if weight is None else (seen * weight[:, :, None]).sum(2)
    if bias is not None:
        y = y + bias[:, None]
    whole = x.new_zeros(x.shape[0], channels, planes.size)
    whole[:, :, pixels] = activate(y, activation)
    return whole


@packed_window.register_fake
def _(x, weight, bias, channels, offsets, result, activation):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], channels, result[4])
