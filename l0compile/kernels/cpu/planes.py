"""Planes in kernels: the zeros around the pixels, and moving images between layouts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from l0compile.ir.ops.planes import STEP, Planes
from l0compile.ir.ops.word_planes import word_of
from l0compile.kernels.cpu.lanes import Expr, body, kernel, param, store, symbol
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class CopySpec:
    """Move planes from one layout to another.

    Attributes:
        channels: planes of an input image.
        source: layout of the input.
        result: layout of the result.
        step: rows and columns from one pixel taken to the next.
        phases: (row, column) of the first pixel taken, for each copy.
        lowest: around the pixels lies minus infinity instead of zero.
        zero_point: planes hold words of four 8-bit integers; around the pixels lies this, in each byte.
    """

    channels: int
    source: Planes
    result: Planes
    step: tuple[int, int]
    phases: tuple[tuple[int, int], ...]
    lowest: bool = False
    zero_point: int | None = None

    @property
    def dtype(self) -> str:
        return "float32" if self.zero_point is None else "int32"

    def around(self) -> Expr:
        """What is no pixel."""
        if self.zero_point is None:
            return TB.float32(-math.inf if self.lowest else 0.0)
        return TB.int32(word_of(self.zero_point))


# Zeros written at once; all parts of a plane are multiples of it.
_ZEROS = STEP


def pieces(width: int, tile: TokenTile) -> list[tuple[int, int]]:
    """``width`` numbers as (start, lanes) of registers; the last may be half a one."""
    return [(start, min(tile.vector, width - start)) for start in range(0, width, tile.vector)]


def by_width(planes: Planes, tile: TokenTile, t: Expr, compute: Callable[[int], None]) -> None:
    """Emit ``compute(places)`` for tile ``t`` of the body; the last tile may have fewer places."""
    whole, rest = divmod(planes.body, tile.lanes)
    if not rest:
        compute(tile.lanes)
    elif not whole:
        compute(rest)
    else:
        with TB.If(t < whole):
            with TB.Then():
                compute(tile.lanes)
            with TB.Else():
                compute(rest)


def only_pixels(planes: Planes, lanes: int, at: Expr, value: Expr, around: Expr | None = None) -> Expr:
    """A register of results for the places from ``at`` of the body on; no pixels are zero, or ``around``."""
    if planes.pitch == planes.width and planes.height * planes.pitch == planes.body:
        return value
    places = TB.Ramp(TB.cast(at, "int32"), 1, lanes)

    def wide(number: int) -> Expr:
        return TB.Broadcast(TB.int32(number), lanes)

    in_row = TB.truncmod(places, wide(planes.pitch)) < wide(planes.width)
    pixel = TB.And(in_row, places < wide(planes.height * planes.pitch))
    return TB.Select(pixel, value, TB.Broadcast(TB.float32(0) if around is None else around, lanes))


def clear_border(
    planes: Planes,
    tile: TokenTile,
    t: Expr,
    plane: Callable[[Expr], tuple[Expr, ...]],
    count: Expr,
    y: Any,
    around: Expr | None = None,
) -> None:
    """Write the zeros before and behind the body of ``count`` planes, along with their first and last tile of it.

    ``around``: another number than 0.
    """
    zero = TB.float32(0) if around is None else around

    def clear(begin: int, numbers: int) -> None:
        with TB.serial(0, count) as r, TB.serial(0, numbers // _ZEROS) as v:
            store(y, TB.Broadcast(zero, _ZEROS), *plane(r), TB.Ramp(begin + v * _ZEROS, 1, _ZEROS))

    end = planes.lead + planes.body
    if planes.lead:
        with TB.If(t == 0), TB.Then():
            clear(0, planes.lead)
    if planes.size > end:
        with TB.If(t == (planes.body - 1) // tile.lanes), TB.Then():
            clear(end, planes.size - end)


def copy(spec: CopySpec, _: TokenTile) -> Any:
    """PrimFunc(x, y): x [N, C, size] -> y [N, F * C, size']; N is symbolic.

    Oracles: ``l0compile::copy_planes`` and ``l0compile::copy_word_planes``.
    """
    phases = len(spec.phases)
    with kernel("copy_planes") as builder:
        images = symbol("images")
        x = param("x", (images, spec.channels, spec.source.size), spec.dtype)
        y = param("y", (images, phases * spec.channels, spec.result.size), spec.dtype)
        with body(), TB.parallel(0, images * spec.channels) as task:
            image, channel = task // spec.channels, task % spec.channels
            for number in range(phases):
                _plane(spec, x, y, image, channel, number)
    return builder.get()


def _plane(spec: CopySpec, x: Any, y: Any, image: Expr, channel: Expr, number: int) -> None:
    source, result, step = spec.source, spec.result, spec.step
    row, column = spec.phases[number]
    height = max(0, min(result.height, -(-(source.height - row) // step[0])))
    width = max(0, min(result.width, -(-(source.width - column) // step[1])))
    target = number * spec.channels + channel

    def clear(begin: Expr, count: Expr) -> None:
        with TB.serial(0, count) as i:
            store(y, spec.around(), image, target, begin + i)

    if not height or not width:
        clear(0, result.size)
        return
    clear(0, result.lead)
    with TB.serial(0, height) as line:
        start = source.lead + (row + line * step[0]) * source.pitch + column
        with TB.serial(0, width) as i:
            value = x[image, channel, start + i * step[1]]
            store(y, value, image, target, result.lead + line * result.pitch + i)
        clear(result.lead + line * result.pitch + width, result.pitch - width)
    end = result.lead + height * result.pitch
    clear(end, result.size - end)


def _call(node: fx.Node) -> KernelCall:
    x, source, result, step, phases, *rest = node.args
    starts = tuple(zip(phases[::2], phases[1::2], strict=True))
    channels = int(x.meta["val"].shape[1])
    spec = CopySpec(channels, Planes(*source), Planes(*result), tuple(step), starts)
    words = node.target is torch.ops.l0compile.copy_word_planes.default
    others = dict(zip(("zero_point" if words else "lowest",), rest, strict=False))
    return KernelCall(replace(spec, **others), (x,))


COPY = KernelDef(
    name="copy_planes",
    calls={"copy_planes": _call, "copy_word_planes": _call},
    spec=CopySpec,
    emit=copy,
    costs=None,
    dtypes=("float32", "int8"),
    moves=True,
)
