"""Convolution on planes, dense or block-sparse, pixels in lanes (oracle: ``l0compile::packed_conv2d``).

Microkernel: rows x vectors accumulators; a column of the weight is one input channel seen through one tap, that is, one
vector load per register of pixels from a place that a table gives, and one broadcast weight per row.
"""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.ir.ops.planes import Planes
from l0compile.kernels.cpu.lanes import Expr, activated, ahead, body, kernel, param, store, symbol, variable
from l0compile.kernels.cpu.planes import by_width, clear_border, only_pixels, pieces
from l0compile.kernels.cpu.sharing import rows_share_better, share, tasks
from l0compile.kernels.definition import KernelCall, KernelDef, given
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class ConvSpec:
    """activation(W x + bias + residual) on planes.

    Attributes:
        n: output planes.
        columns: columns of a dense W: input channels times taps.
        rows: rows of a block of W; it has one column.
        channels: planes of an input image.
        size: numbers of an input plane.
        result: layout of the output planes.
        dense: every block is there.
        bias: there is a bias.
        residual: there is a residual.
        activation: a key of ``ACTIVATIONS``, or "prelu", which takes a slope for each output plane.
    """

    n: int
    columns: int
    rows: int
    channels: int
    size: int
    result: Planes
    dense: bool
    bias: bool
    residual: bool
    activation: str


def conv(spec: ConvSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, data, offsets[, indptr][, bias][, residual][, slope], y); images and nnz are symbolic."""
    blocks, planes = -(-spec.n // spec.rows), spec.result
    with kernel("conv") as builder:
        images, nnz = symbol("images"), symbol("nnz")
        x = param("x", (images, spec.channels, spec.size))
        data = param("data", (nnz, 1, spec.rows))
        offsets = param("offsets", (spec.columns if spec.dense else nnz,), "int32")
        indptr = None if spec.dense else param("indptr", (blocks + 1,), "int32")
        bias = param("bias", (spec.n,)) if spec.bias else None
        residual = param("residual", (images, spec.n, planes.size)) if spec.residual else None
        slope = param("slope", (spec.n,)) if spec.activation == "prelu" else None
        y = param("y", (images, spec.n, planes.size))
        operands = (x, data, offsets, indptr, bias, residual, slope, y)
        tiles, threads = -(-planes.body // tile.lanes), max(1, min(tile.threads, blocks))
        by_rows = rows_share_better(planes.body, tile.lanes, blocks, tile)
        with (
            body(),
            tasks(images, tiles, threads, by_rows) as (image, t, thread),
            share(spec.dense, blocks, threads, thread) as j,
        ):
            _row_block(spec, tile, image, t, j, operands)
    return builder.get()


def _row_block(
    spec: ConvSpec, tile: TokenTile, image: Expr, t: Expr, j: Expr, operands: tuple[Any, ...]
) -> None:
    """One block of rows at one tile of pixels; the last tile may have fewer registers."""

    def compute(width: int) -> None:
        _accumulate(spec, tile, image, t * tile.lanes, j, width, operands)

    by_width(spec.result, tile, t, compute)
    rows = TB.min(spec.rows, spec.n - j * spec.rows)
    clear_border(spec.result, tile, t, lambda r: (image, j * spec.rows + r), rows, operands[-1])


def _accumulate(
    spec: ConvSpec,
    tile: TokenTile,
    image: Expr,
    first: Expr,
    j: Expr,
    width: int,
    operands: tuple[Any, ...],
) -> None:
    x, data, offsets, indptr, bias, residual, slope, y = operands
    registers = pieces(width, tile)
    acc = [[variable(lanes) for _, lanes in registers] for _ in range(spec.rows)]
    for r in range(spec.rows):
        # Rows past n (ragged last block) start from some in-range bias and are never stored.
        start = bias[TB.min(j * spec.rows + r, spec.n - 1)] if bias is not None else TB.float32(0)
        for register, (_, lanes) in zip(acc[r], registers, strict=True):
            store(register, TB.Broadcast(start, lanes), TB.Ramp(0, 1, lanes))
    begin = indptr[j] if indptr is not None else j * spec.columns
    count = indptr[j + 1] - indptr[j] if indptr is not None else spec.columns
    with TB.serial(0, count) as i:
        p = begin + i
        ahead(data, p + tile.core.prefetch_bytes // (4 * spec.rows), 0, 0)
        place = TB.cast(offsets[i if indptr is None else p], "int64") + first
        for r in range(spec.rows):
            for register, (s, lanes) in zip(acc[r], registers, strict=True):
                here = TB.Ramp(0, 1, lanes)
                weight = TB.Broadcast(data[p, 0, r], lanes)
                pixels = x[image, 0, TB.Ramp(place + s, 1, lanes)]
                store(register, register[here] + weight * pixels, here)
    for r in range(spec.rows):
        _finish(spec, acc[r], j * spec.rows + r, image, first, registers, residual, slope, y)


def _finish(spec, acc, row, image, first, registers, residual, slope, y):  # type: ignore[no-untyped-def]
    planes = spec.result

    def write() -> None:
        for register, (s, lanes) in zip(acc, registers, strict=True):
            pixels = TB.Ramp(planes.lead + first + s, 1, lanes)
            value = register[TB.Ramp(0, 1, lanes)]
            value = value if residual is None else value + residual[image, row, pixels]
            value = activated(value, spec.activation, None if slope is None else slope[row])
            store(y, only_pixels(planes, lanes, first + s, value), image, row, pixels)

    if spec.n % spec.rows == 0:
        write()
    else:
        with TB.If(row < spec.n), TB.Then():
            write()


def _call(node: fx.Node) -> KernelCall:
    x, data, offsets, indptr, bias, residual, n, result, activation, *slope = node.args
    _, channels, size = x.meta["val"].shape
    spec = ConvSpec(
        n=n, columns=0 if indptr is not None else int(offsets.meta["val"].shape[0]),
        rows=int(data.meta["val"].shape[2]), channels=int(channels), size=int(size), result=Planes(*result),
        dense=indptr is None, bias=bias is not None, residual=residual is not None, activation=activation,
    )  # fmt: skip
    return KernelCall(spec, given(x, data, offsets, indptr, bias, residual, *slope))


CONV = KernelDef(name="conv", calls={"packed_conv2d": _call}, spec=ConvSpec, emit=conv, costs=None)
