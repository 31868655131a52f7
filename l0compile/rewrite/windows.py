"""Convolutions and poolings as windows that slide over an image, and the layout that they want to read."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, per_axis, tensor
from l0compile.ir.operator_facts import facts_of, operators
from l0compile.ir.ops.planes import STEP, Planes

l0 = torch.ops.l0compile

HeightWidth = tuple[int, int]
CONVOLUTIONS, MAXIMA, MEANS = (
    tuple(op for positions in (1, 2) for op in operators(window=kind, positions=positions))
    for kind in ("convolution", "max", "mean")
)
"""Those over one or two axes of positions, which have kernels on planes."""
INTEGER_CONVOLUTIONS = (l0.int8_conv2d.default, l0.int8_bsr_conv2d.default)
"""Those of 8-bit integers, which read images of uint8."""


@dataclass(frozen=True)
class Window:
    """A window of ``kernel`` taps that steps over an image of ``size``; in one dimension the height is 1."""

    size: HeightWidth
    kernel: HeightWidth
    stride: HeightWidth
    padding: HeightWidth
    dilation: HeightWidth
    ceil: bool = False

    @property
    def result(self) -> HeightWidth:
        """Height and width of the result."""
        height, width = map(self._places, self.size, self.kernel, self.stride, self.padding, self.dilation)
        return height, width

    def _places(self, size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
        room = size + 2 * padding - dilation * (kernel - 1) - 1
        if not self.ceil:
            return room // stride + 1
        # A window may reach past the end, but not begin there.
        last = -(-room // stride)
        return last + 1 if last * stride < size + padding else last

    @property
    def reaches_out(self) -> bool:
        """Whether some tap lies outside of the image."""
        return self.padding != (0, 0) or any(
            (count - 1) * s + d * (k - 1) >= size
            for count, size, k, s, d in zip(
                self.result, self.size, self.kernel, self.stride, self.dilation, strict=True
            )
        )

    @cached_property
    def taps(self) -> tuple[tuple[HeightWidth, HeightWidth], ...]:
        """(phase, shift) of each tap, row by row: it reads the pixel ``stride * (place + shift) + phase``."""
        places = [
            [(i * d - p) for i in range(k)]
            for k, p, d in zip(self.kernel, self.padding, self.dilation, strict=True)
        ]
        return tuple(
            ((y % self.stride[0], x % self.stride[1]), (y // self.stride[0], x // self.stride[1]))
            for y, x in product(*places)
        )

    @cached_property
    def phases(self) -> tuple[HeightWidth, ...]:
        """The phases that some tap reads."""
        return tuple(sorted({phase for phase, _ in self.taps}))

    @property
    def phase_size(self) -> HeightWidth:
        """Height and width of the largest phase."""
        height, width = (
            -(-(size - min(phase[axis] for phase in self.phases)) // self.stride[axis])
            for axis, size in enumerate(self.size)
        )
        return height, width

    @property
    def pitch(self) -> int:
        """The smallest distance of rows at which every tap outside of the image falls on a zero."""
        left = max(0, -min(shift[1] for _, shift in self.taps))
        right = max(shift[1] for _, shift in self.taps)
        width = self.result[1]
        return max(width, self.phase_size[1] + left, width + right)

    @property
    def keeps_size(self) -> bool:
        return self.stride == (1, 1) and self.result == self.size

    def border(self, pitch: int) -> HeightWidth:
        """(zeros before the first pixel, numbers from it on) that it needs in planes with rows ``pitch`` apart."""
        shifts = [shift[0] * pitch + shift[1] for _, shift in self.taps]
        body = -(-self.result[0] * pitch // STEP) * STEP
        return max(0, -min(shifts)), body + max(0, *shifts)

    def source(self, pitch: int) -> Planes:
        """The layout in which this window reads its phases."""
        return Planes.bordered(*self.phase_size, pitch, *self.border(pitch))

    def places(self, planes: Planes, channels: int) -> list[int]:
        """The place that each tap reads for pixel 0 of channel 0, in planes phase by phase, ``channels`` each."""
        number = {phase: i for i, phase in enumerate(self.phases)}
        return [
            number[phase] * channels * planes.size + planes.lead + shift[0] * planes.pitch + shift[1]
            for phase, shift in self.taps
        ]


def window_of(node: Any) -> Window | None:
    """The window of a convolution or pooling; None for another node, or when a size is symbolic or zero.

    It is None also for ``padding="same"`` with an even extent, which pads one side more: a ``Window`` cannot say that.
    """
    if not is_op(node, *CONVOLUTIONS, *MAXIMA, *MEANS, l0.bsr_conv2d.default, *INTEGER_CONVOLUTIONS):
        return None
    dtype = torch.uint8 if is_op(node, *INTEGER_CONVOLUTIONS) else torch.float32
    given = arguments(node)
    x = tensor(node.args[0])
    weight = given.get("weight")
    kernel = given.get("kernel_size")
    if kernel is None:
        kernel = weight[2:] if isinstance(weight, (list, tuple)) else _shape(weight)[2:]
    rank = 2 if facts_of(node).positions == 2 or len(kernel) == 2 else 1
    if x is None or x.dtype != dtype or x.ndim != rank + 2:
        return None
    size = tuple(x.shape[1:])
    if not all(isinstance(extent, int) for extent in size):
        return None
    ceil = bool(given.get("ceil_mode"))
    pads = given["padding"]
    dilation = _each(given.get("dilation", 1), rank, 1)
    if isinstance(pads, str):
        extents = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if pads == "same" and any(extent % 2 for extent in extents):
            return None
        pads = [extent // 2 for extent in extents] if pads == "same" else [0]
    kernel = _each(kernel, rank, 1)
    stride = _each(given.get("stride") or kernel, rank, 1)
    found = Window(_pair(size[1:], 1), kernel, stride, _each(pads, rank, 0), dilation, ceil)
    return found if min(*found.size, *found.result) > 0 else None


def _shape(weight: Any) -> list[Any]:
    value = tensor(weight)
    return list(value.shape) if value is not None else []


def _each(value: Any, rank: int, flat: int) -> HeightWidth:
    """A setting, given once or for each dimension, as a pair; ``flat`` is its value for the height of a line."""
    return _pair(tuple(per_axis(value, rank)), flat)


def _pair(values: tuple[Any, ...], flat: int) -> HeightWidth:
    return (flat, int(values[0])) if len(values) == 1 else (int(values[0]), int(values[1]))


def conv_weight(editor: Editor, node: Any) -> torch.Tensor | None:
    """The weight [n, C / groups, kernel...] of a convolution whose parameters are float32 constants, else None."""
    if not is_op(node, *CONVOLUTIONS):
        return None
    given = arguments(node)
    weight, bias = editor.value(given["weight"]), editor.value(given["bias"])
    if weight is None or (given["bias"] is not None and bias is None):
        return None
    return weight if weight.dtype == torch.float32 else None


def narrow_conv_weight(editor: Editor, node: Any) -> torch.Tensor | None:
    """The weight [n, C, kh, kw] of a convolution of int8 numbers whose parameters are constants, else None."""
    if not is_op(node, l0.int8_conv2d.default):
        return None
    given = arguments(node)
    if editor.value(given["scale"]) is None or (
        given["bias"] is not None and editor.value(given["bias"]) is None
    ):
        return None
    return editor.value(given["weight"])


def layouts(windows: list[Window]) -> dict[HeightWidth, Planes]:
    """One layout for each image size, which windows that keep the size can read as it is.

    All images of one size share it, so that they can be added and concatenated.
    """
    result: dict[HeightWidth, Planes] = {}
    for size in {window.result for window in windows}:
        pitch = max(window.pitch for window in windows if window.result == size)
        borders = [w.border(pitch) for w in windows if w.keeps_size and w.size == size]
        before, reach = (max((border[i] for border in borders), default=0) for i in (0, 1))
        result[size] = Planes.bordered(*size, pitch, before, reach)
    return result
