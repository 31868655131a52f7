"""B^T d of an image, what a Winograd convolution reads (oracle: ``l0compile::winograd_planes``).

ir/ops/winograd.py has the mathematics. Pixels of a row are lanes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.ir.ops.planes import STEP, Planes
from l0compile.ir.ops.winograd import transforms
from l0compile.kernels.cpu.lanes import Expr, body, const, kernel, param, store, symbol
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

RowPiece = tuple[int, int]


@dataclass(frozen=True)
class WinogradPlanesSpec:
    """B^T d for the strips of ``m`` rows of some planes; see ir/ops/winograd.py.

    Attributes:
        channels: planes of an input image.
        source: layout of the input.
        result: layout of the result.
        m: rows of a strip.
    """

    channels: int
    source: Planes
    result: Planes
    m: int


def row_pieces(width: int, tile: TokenTile) -> list[RowPiece]:
    """A row as (start, lanes) of registers, the last one reaching past its end where it must."""
    found = []
    for start in range(0, width, tile.vector):
        half = tile.vector > STEP and width - start <= STEP
        found.append((start, STEP if half else tile.vector))
    return found


def winograd_planes(spec: WinogradPlanesSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, y): x [N, C, size] -> y [N, (m + 2) * C, size']; N is symbolic."""
    source, result, m = spec.source, spec.result, spec.m
    with kernel("winograd_planes") as builder:
        images = symbol("images")
        x = param("x", (images, spec.channels, source.size))
        y = param("y", (images, (m + 2) * spec.channels, result.size))
        with body(), TB.parallel(0, images * spec.channels) as task:
            image, channel = task // spec.channels, task % spec.channels
            planes = [(image, k * spec.channels + channel) for k in range(m + 2)]
            for plane in planes:
                clear(y, plane, 0, result.lead)
                clear(y, plane, result.lead + result.height * result.pitch, result.size)
            # Upwards: what a row writes past its end is then overwritten by the next one.
            _transform(
                spec, tile, x, y, (image, channel), planes, TB.int64(0), range(m + 2)[1 : source.height + 1]
            )
            if result.height > 2:
                with TB.serial(0, result.height - 2) as i:
                    _transform(spec, tile, x, y, (image, channel), planes, i + 1, range(m + 2))
            if result.height > 1:
                last = result.height - 1
                there = range(m + 2)[: source.height - (m * last - 1)]
                _transform(spec, tile, x, y, (image, channel), planes, TB.int64(last), there)
    return builder.get()


def _transform(
    spec: WinogradPlanesSpec,
    tile: TokenTile,
    x: Any,
    y: Any,
    channel: tuple[Expr, Expr],
    planes: Sequence[tuple[Expr, Expr]],
    strip: Expr,
    there: range,
) -> None:
    """One strip of one channel; ``there``: which of the m + 2 rows it sees are in the image."""
    source, result = spec.source, spec.result
    pieces = row_pieces(result.width, tile)
    for start, lanes in pieces:
        first = source.lead + (strip * spec.m - 1) * source.pitch + start
        seen = [x[(*channel, TB.Ramp(first + a * source.pitch, 1, lanes))] for a in there]
        for plane, factors in zip(planes, transforms(spec.m).data, strict=True):
            value = weighted_sum(seen, [factors[a] for a in there], lanes)
            if start + lanes > result.width:
                inside = TB.Ramp(TB.int32(start), 1, lanes) < TB.Broadcast(TB.int32(result.width), lanes)
                value = TB.Select(inside, value, TB.Broadcast(TB.float32(0), lanes))
            store(y, value, *plane, TB.Ramp(result.lead + strip * result.pitch + start, 1, lanes))
    covered = pieces[-1][0] + pieces[-1][1]
    for start in range(covered, result.pitch):
        for plane in planes:
            store(y, TB.float32(0), *plane, result.lead + strip * result.pitch + start)


def weighted_sum(values: Sequence[Expr], factors: Sequence[float], lanes: int) -> Expr:
    total = None
    for value, factor in zip(values, factors, strict=True):
        if factor:
            term = value if factor == 1 else value * const(factor, value)
            total = term if total is None else total + term
    return TB.Broadcast(TB.float32(0), lanes) if total is None else total


def clear(y: Any, plane: tuple[Expr, ...], begin: int, end: int) -> None:
    """Write zeros to y[plane, begin:end]."""
    middle = min(end, -(-begin // STEP) * STEP)
    for i in range(begin, middle):
        store(y, TB.float32(0), *plane, i)
    with TB.serial(0, (end - middle) // STEP) as v:
        store(y, TB.Broadcast(TB.float32(0), STEP), *plane, TB.Ramp(middle + v * STEP, 1, STEP))


def _call(node: fx.Node) -> KernelCall:
    x, source, result, m = node.args
    spec = WinogradPlanesSpec(int(x.meta["val"].shape[1]), Planes(*source), Planes(*result), m)
    return KernelCall(spec, (x,))


WINOGRAD_PLANES = KernelDef(
    name="winograd_planes",
    calls={"winograd_planes": _call},
    spec=WinogradPlanesSpec,
    emit=winograd_planes,
    costs=None,
)
