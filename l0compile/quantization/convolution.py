"""Convolutions that can be made narrow, and the windows that they see."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.ir.ops.quantized import FEATURES, LEVELS
from l0compile.ir.tensors import ORDINARY_TYPES, resolved
from l0compile.quantization.layers import MOST

_LARGEST_SUM = 2**31 - 1
# Scales are chosen with the weight of all channels, whatever the groups.
_LARGEST_MATRIX = 1 << 25


def why_not_convolution(conv: nn.Conv2d) -> str | None:
    """Return why a convolution has to stay as it is, None if it need not."""
    if type(conv).forward is not nn.Conv2d.forward or type(conv)._conv_forward is not nn.Conv2d._conv_forward:
        return f"{type(conv).__name__} has a forward of its own"
    if not isinstance(conv.weight, Tensor) or type(resolved(conv.weight)) not in ORDINARY_TYPES:
        return "its weight is no plain tensor"
    if conv.weight.dtype != torch.float32:
        return f"its weight is {conv.weight.dtype}, and float32 is what is rounded"
    if conv.groups != 1 and conv.weight.numel() * conv.groups > _LARGEST_MATRIX:
        return f"its {conv.groups} groups make a matrix of more than {_LARGEST_MATRIX} numbers"
    if 2 * conv.in_channels <= FEATURES:
        return (
            f"its {conv.in_channels} input channels would leave half of a word of {FEATURES} channels empty"
        )
    if conv.padding_mode != "zeros":
        return f"it pads by {conv.padding_mode!r}, and the kernels of 8-bit integers by zeros"
    if _padding(conv) is None:
        return "it pads the two sides of an image differently"
    if conv.weight[0].numel() * LEVELS * MOST > _LARGEST_SUM:
        return f"the sum of {conv.weight[0].numel()} products may be too large for 32 bits"
    return None


def steps(conv: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return (stride, padding, dilation), each of both axes."""
    padding = _padding(conv)
    assert padding is not None
    return _pair(conv.stride), padding, _pair(conv.dilation)


def _padding(conv: nn.Conv2d) -> tuple[int, int] | None:
    if not isinstance(conv.padding, str):
        return _pair(conv.padding)
    if conv.padding == "valid":
        return 0, 0
    reach = [d * (k - 1) for k, d in zip(conv.kernel_size, _pair(conv.dilation), strict=True)]
    return None if any(extent % 2 for extent in reach) else (reach[0] // 2, reach[1] // 2)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


class SeenWindows:
    """The windows of a convolution over some images, as the rows that its weight [n, C * kh * kw] is multiplied by.

    Attributes:
        count: windows of all images.
        peak: [C * kh * kw], the largest magnitude in each channel, repeated for its taps.
    """

    def __init__(self, conv: nn.Conv2d, x: Tensor) -> None:
        """Look at images [N, C, H, W] or [C, H, W]."""
        stride, padding, dilation = steps(conv)
        x = x if x.ndim == 4 else x[None]
        self._padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        self._kernel = conv.weight.shape[2:]
        self._starts = [
            torch.arange(0, size - d * (k - 1), s)
            for size, k, d, s in zip(self._padded.shape[2:], self._kernel, dilation, stride, strict=True)
        ]
        self._taps = [torch.arange(k) * d for k, d in zip(self._kernel, dilation, strict=True)]
        self.count = len(x) * len(self._starts[0]) * len(self._starts[1])
        self.peak = x.abs().amax((0, 2, 3)).repeat_interleave(self._kernel.numel())

    def take(self, chosen: Tensor) -> Tensor:
        """Return the windows of these numbers [s] as [s, C * kh * kw]."""
        height, width = (len(starts) for starts in self._starts)
        image, y, x = chosen // (height * width), chosen // width % height, chosen % width
        rows = self._starts[0][y][:, None, None] + self._taps[0][:, None]
        columns = self._starts[1][x][:, None, None] + self._taps[1]
        found = self._padded[image[:, None, None], :, rows, columns]
        return found.permute(0, 3, 1, 2).flatten(1)
