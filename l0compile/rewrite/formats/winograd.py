"""Dense 3x3 convolutions as strips of rows: when it pays, and what their operators are given."""

from math import prod

import torch
from torch import Tensor

from l0compile.ir.ops.bsr import dense_blocks
from l0compile.ir.ops.planes import LINE, STEP, Planes
from l0compile.ir.ops.winograd import HEIGHTS, strip_count, transforms
from l0compile.rewrite.windows import Window

# Below these the transforms of the image cost more than the products that they save.
_LEAST_INPUTS, _LEAST_OUTPUTS = 16, 32
# With fewer pixels the time goes into reading weights, of which there are more in strips.
_LEAST_PIXELS = 128
# What the transforms take of the plain kernel's time.
_TRANSFORM = 0.1
# Strips must promise this share of the plain kernel's time or less.
_WORTH = 0.95


def strip_height(window: Window | None, inputs: int, outputs: int) -> int | None:
    """Rows of a strip for a dense convolution, or None: not 3x3 with stride 1 and a border of 1, or not worth it."""
    if window is None or (window.kernel, window.stride, window.dilation) != ((3, 3), (1, 1), (1, 1)):
        return None
    if window.padding != (1, 1) or inputs < _LEAST_INPUTS or outputs < _LEAST_OUTPUTS:
        return None
    if prod(window.size) < _LEAST_PIXELS:
        return None
    best = min(HEIGHTS, key=lambda m: strip_time(window, m))
    return best if strip_time(window, best) <= _WORTH else None


def strip_time(window: Window, m: int) -> float:
    """Predicted time in strips of ``m`` rows over that of the plain kernel, each with what it computes in vain."""
    height, width = window.size
    lanes = strip_count(height, m) * -(-width // STEP) * STEP
    return _TRANSFORM + (m + 2) * lanes / (3 * -(-height * window.pitch // STEP) * STEP)


def dense_time(window: Window | None, inputs: int, outputs: int) -> float:
    """Predicted time of a dense convolution over that of the plain kernel: what zeros have to beat."""
    m = strip_height(window, inputs, outputs)
    return 1.0 if window is None or m is None else strip_time(window, m)


def readable(source: Planes) -> bool:
    """Whether registers that begin in the last row and reach past its end stay in the plane."""
    last = source.lead + (source.height - 1) * source.pitch
    return last + -(-source.width // LINE) * LINE <= source.size


def strip_layout(source: Planes, m: int) -> Planes:
    """The layout of B^T d: rows begin at whole half registers, and a zero lies before and behind each."""
    height, pitch = strip_count(source.height, m), (source.width // STEP + 1) * STEP
    # The last registers of the last row may reach past its end by a register, and one tap further.
    return Planes.bordered(height, source.width, pitch, 1, height * pitch + 2 * LINE)


def strip_weight(weight: Tensor, strips: Planes, m: int, rows: int) -> tuple[Tensor, Tensor]:
    """(blocks, offsets) that ``packed_strips`` takes, of a weight [n, C, 3, 3]."""
    kernel = torch.tensor(transforms(m).kernel, dtype=torch.float64)
    parts = torch.einsum("ka,ncad->kncd", kernel, weight.double()).float()
    blocks = torch.cat([dense_blocks(part.flatten(1), rows) for part in parts])
    taps = torch.arange(weight.shape[1])[:, None] * strips.size + (strips.lead - 1) + torch.arange(3)
    return blocks, taps.flatten().to(torch.int32)
