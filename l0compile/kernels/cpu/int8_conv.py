"""Convolution of 8-bit integers on planes of words, pixels in lanes (oracle: ``l0compile::packed_int8_conv2d``).

As the convolution of float32, with a word of four channels where that has one number: a column of the weight is four
input channels seen through one tap.
"""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.ir.nodes import arguments
from l0compile.ir.ops.planes import Planes
from l0compile.ir.ops.word_planes import word_of
from l0compile.kernels.cpu.dot import WORD, as_float, dot, word
from l0compile.kernels.cpu.lanes import (
    ACTIVATIONS,
    Expr,
    ahead,
    body,
    broadcast,
    kept,
    kernel,
    param,
    ramp,
    store,
    symbol,
    variable,
)
from l0compile.kernels.cpu.planes import by_width, clear_border, only_pixels, pieces
from l0compile.kernels.cpu.sharing import rows_share_better, share, tasks
from l0compile.kernels.definition import KernelCall, KernelDef, given
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class IntegerConvSpec:
    """activation((W x + start) * scale + bias + residual) on planes.

    Attributes:
        n: output channels.
        columns: columns of a dense W, in words: input channels / 4 times taps.
        rows: rows of a block of W; it has one column.
        words: planes of an input image.
        size: words of an input plane.
        result: layout of the output planes.
        dense: every block is there.
        bias: there is a bias.
        residual: there is a residual.
        activation: a key of ``ACTIVATIONS``.
        zero_point: of a result in 8-bit integers, in words of four rows; None: it is float32.
        fits16: see ``l0compile::packed_int8_linear``.
    """

    n: int
    columns: int
    rows: int
    words: int
    size: int
    result: Planes
    dense: bool
    bias: bool
    residual: bool
    activation: str
    zero_point: int | None = None
    fits16: bool = False


@dataclass(frozen=True)
class _Buffers:
    """The parameters of the kernel; None where it has no such one."""

    x: Any
    data: Any
    offsets: Any
    indptr: Any
    start: Any
    scale: Any
    bias: Any
    residual: Any
    inverse: Any
    y: Any


def int8_conv(spec: IntegerConvSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, data, offsets[, indptr], start, scale[, bias][, residual][, inverse], y).

    Images and nnz are symbolic.
    """
    blocks, planes = -(-spec.n // spec.rows), spec.result
    with kernel("int8_conv") as builder:
        to = _buffers(spec, blocks)
        images = to.x.shape[0]
        tiles, threads = -(-planes.body // tile.lanes), max(1, min(tile.threads, blocks))
        by_rows = rows_share_better(planes.body, tile.lanes, blocks, tile)
        with (
            body(),
            tasks(images, tiles, threads, by_rows) as (image, t, thread),
            share(spec.dense, blocks, threads, thread) as j,
        ):
            _row_block(spec, tile, to, image, t, j)
    return builder.get()


def _buffers(spec: IntegerConvSpec, blocks: int) -> _Buffers:
    """Declare the parameters; this is their order."""
    images, nnz, size = symbol("images"), symbol("nnz"), spec.result.size
    narrow = spec.zero_point is not None
    return _Buffers(
        x=param("x", (images, spec.words, spec.size), "int32"),
        data=param("data", (nnz, 1, spec.rows), "int32"),
        offsets=param("offsets", (spec.columns if spec.dense else nnz,), "int32"),
        indptr=None if spec.dense else param("indptr", (blocks + 1,), "int32"),
        start=param("start", (spec.n,), "int32"),
        scale=param("scale", (spec.n,)),
        bias=param("bias", (spec.n,)) if spec.bias else None,
        residual=param("residual", (images, spec.n, size)) if spec.residual else None,
        inverse=param("inverse", (spec.n,)) if narrow else None,
        y=param("y", (images, spec.n // WORD if narrow else spec.n, size), "int32" if narrow else "float32"),
    )


def _row_block(spec: IntegerConvSpec, tile: TokenTile, to: _Buffers, image: Expr, t: Expr, j: Expr) -> None:
    """One block of rows at one tile of pixels; the last tile may have fewer registers."""

    def compute(width: int) -> None:
        _BlockOfRows(spec, tile, to, image, j, t * tile.lanes, pieces(width, tile)).emit()

    by_width(spec.result, tile, t, compute)
    if spec.zero_point is None:
        rows = TB.min(spec.rows, spec.n - j * spec.rows)
        clear_border(spec.result, tile, t, lambda r: (image, j * spec.rows + r), rows, to.y)
    else:
        rows, around = spec.rows // WORD, TB.int32(word_of(spec.zero_point))
        clear_border(spec.result, tile, t, lambda r: (image, j * rows + r), rows, to.y, around)


@dataclass(frozen=True)
class _BlockOfRows:
    """Rows of block ``j`` at the ``registers`` of pixels from place ``first`` of the body on."""

    spec: IntegerConvSpec
    tile: TokenTile
    to: _Buffers
    image: Expr
    j: Expr
    first: Expr
    registers: list[tuple[int, int]]

    def emit(self) -> None:
        spec, to = self.spec, self.to
        acc = [[variable(lanes, "int32") for _, lanes in self.registers] for _ in range(spec.rows)]
        for r in range(spec.rows):
            # Rows past n (ragged last block) start from some in-range number and are never stored.
            start = to.start[TB.min(self.j * spec.rows + r, spec.n - 1)]
            for register, (_, lanes) in zip(acc[r], self.registers, strict=True):
                store(register, broadcast(start, lanes), ramp(0, lanes))
        self._walk(acc)
        if spec.zero_point is None:
            for r in range(spec.rows):
                self._write_row(acc[r], self.j * spec.rows + r)
        else:
            # n is a multiple of the rows of a block, and those are whole words.
            for r in range(0, spec.rows, WORD):
                self._write_words(acc[r : r + WORD], self.j * spec.rows + r, spec.zero_point)

    def _walk(self, acc: list[list[Any]]) -> None:
        """Add the columns of the block row."""
        spec, to = self.spec, self.to
        begin = to.indptr[self.j] if to.indptr is not None else self.j * spec.columns
        count = to.indptr[self.j + 1] - begin if to.indptr is not None else spec.columns
        with TB.serial(0, count) as i:
            p = begin + i
            ahead(to.data, p + self.tile.core.prefetch_bytes // (4 * spec.rows), 0, 0)
            place = TB.cast(to.offsets[p if to.indptr is not None else i], "int64") + self.first
            for r in range(spec.rows):
                for register, (s, lanes) in zip(acc[r], self.registers, strict=True):
                    here = ramp(0, lanes)
                    weight = broadcast(to.data[p, 0, r], lanes)
                    pixels = to.x[self.image, 0, ramp(place + s, lanes)]
                    total = dot(register[here], pixels, weight, lanes, self.tile, spec.fits16)
                    store(register, total, here)

    def _value(self, register: Any, row: Expr, s: int, lanes: int) -> Expr:
        """A register of results, before the activation is the residual."""
        to = self.to
        value = as_float(register[ramp(0, lanes)], lanes) * broadcast(to.scale[row], lanes)
        if to.bias is not None:
            value = value + broadcast(to.bias[row], lanes)
        if to.residual is not None:
            value = value + to.residual[self.image, row, self._pixels(s, lanes)]
        return ACTIVATIONS[self.spec.activation](kept(value, lanes))

    def _pixels(self, s: int, lanes: int) -> Expr:
        return ramp(self.spec.result.lead + self.first + s, lanes)

    def _write_row(self, acc: list[Any], row: Expr) -> None:
        spec = self.spec

        def write() -> None:
            for register, (s, lanes) in zip(acc, self.registers, strict=True):
                value = only_pixels(spec.result, lanes, self.first + s, self._value(register, row, s, lanes))
                store(self.to.y, value, self.image, row, self._pixels(s, lanes))

        if spec.n % spec.rows == 0:
            write()
        else:
            with TB.If(row < spec.n), TB.Then():
                write()

    def _write_words(self, acc: list[list[Any]], row: Expr, zero_point: int) -> None:
        inverses = [self.to.inverse[row + byte] for byte in range(WORD)]
        around = TB.int32(word_of(zero_point))
        for v, (s, lanes) in enumerate(self.registers):
            values = [self._value(acc[byte][v], row + byte, s, lanes) for byte in range(WORD)]
            words = word(values, inverses, zero_point, lanes)
            words = only_pixels(self.spec.result, lanes, self.first + s, words, around)
            store(self.to.y, words, self.image, TB.floordiv(row, WORD), self._pixels(s, lanes))


def _call(node: fx.Node) -> KernelCall:
    (
        x,
        data,
        offsets,
        indptr,
        start,
        scale,
        bias,
        residual,
        inverse,
        n,
        result,
        activation,
        zero_point,
        fits16,
    ) = arguments(node).values()
    _, words, size = x.meta["val"].shape
    spec = IntegerConvSpec(
        n=n, columns=0 if indptr is not None else int(offsets.meta["val"].shape[0]),
        rows=int(data.meta["val"].shape[2]), words=int(words), size=int(size), result=Planes(*result),
        dense=indptr is None, bias=bias is not None, residual=residual is not None, activation=activation,
        zero_point=zero_point if inverse is not None else None, fits16=fits16,
    )  # fmt: skip
    return KernelCall(spec, given(x, data, offsets, indptr, start, scale, bias, residual, inverse))


INT8_CONV = KernelDef(
    name="int8_conv",
    calls={"packed_int8_conv2d": _call},
    spec=IntegerConvSpec,
    emit=int8_conv,
    costs=None,
    dtypes=("float32", "int8"),
)
