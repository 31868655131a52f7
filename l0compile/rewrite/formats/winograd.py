"""Winograd's algorithm for dense 3x3 convolutions: when it pays, and the operands of its operators."""

from math import prod

import torch
from torch import Tensor

from l0compile.ir.ops.bsr import dense_blocks
from l0compile.ir.ops.planes import LINE, STEP, Planes
from l0compile.ir.ops.winograd import HEIGHTS, strip_count, transforms
from l0compile.rewrite.windows import Window

# With fewer channels the transforms of the image cost more than the products that they save.
_LEAST_INPUTS, _LEAST_OUTPUTS = 16, 32
# With fewer pixels the time goes into reading weights, of which this algorithm has more.
_LEAST_PIXELS = 128
# The share of the plain kernel's time that the transforms take.
_TRANSFORM = 0.1
# The predicted time must be at most this share of the plain kernel's.
_WORTH = 0.95


def winograd_height(window: Window | None, inputs: int, outputs: int) -> int | None:
    """Rows of a strip for a dense convolution; None when it is not 3x3 with stride 1 and padding 1, or does not pay."""
    if window is None or (window.kernel, window.stride, window.dilation) != ((3, 3), (1, 1), (1, 1)):
        return None
    if window.padding != (1, 1) or inputs < _LEAST_INPUTS or outputs < _LEAST_OUTPUTS:
        return None
    if prod(window.size) < _LEAST_PIXELS:
        return None
    best = min(HEIGHTS, key=lambda m: winograd_time(window, m))
    return best if winograd_time(window, best) <= _WORTH else None


def winograd_time(window: Window, m: int) -> float:
    """Predicted time in strips of ``m`` rows over that of the plain kernel, counting what each computes in vain."""
    height, width = window.size
    lanes = strip_count(height, m) * -(-width // STEP) * STEP
    return _TRANSFORM + (m + 2) * lanes / (3 * -(-height * window.pitch // STEP) * STEP)


def dense_time(window: Window | None, inputs: int, outputs: int) -> float:
    """Predicted time of the better dense kernel over that of the plain one: block-sparse kernels have to beat it."""
    m = winograd_height(window, inputs, outputs)
    return 1.0 if window is None or m is None else winograd_time(window, m)


def readable(source: Planes) -> bool:
    """Whether registers that begin in the last row and reach past its end stay in the plane."""
    last = source.lead + (source.height - 1) * source.pitch
    return last + -(-source.width // LINE) * LINE <= source.size


def winograd_layout(source: Planes, m: int) -> Planes:
    """The layout of B^T d: rows begin at whole half registers, and a zero lies before and behind each."""
    height, pitch = strip_count(source.height, m), (source.width // STEP + 1) * STEP
    # The last registers of the last row may reach past its end by a register, and one tap further.
    return Planes.bordered(height, source.width, pitch, 1, height * pitch + 2 * LINE)


def winograd_weight(weight: Tensor, source: Planes, m: int, rows: int) -> tuple[Tensor, Tensor]:
    """(blocks, offsets) that ``packed_winograd`` takes, of a weight [n, C, 3, 3]."""
    kernel = torch.tensor(transforms(m).kernel, dtype=torch.float64)
    parts = torch.einsum("ka,ncad->kncd", kernel, weight.double()).float()
    blocks = torch.cat([dense_blocks(part.flatten(1), rows) for part in parts])
    taps = torch.arange(weight.shape[1])[:, None] * source.size + (source.lead - 1) + torch.arange(3)
    return blocks, taps.flatten().to(torch.int32)
