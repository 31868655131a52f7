"""Winograd convolution of 3x3 windows, one strip of rows at a time, with fewer multiplications.

Oracle: ``l0compile::packed_winograd``; ir/ops/winograd.py has the mathematics.

Pixels of a row are lanes. Microkernel: as in conv.py, but the registers of a tile are the pieces of one strip or of
several. Its products, one for each row of B^T d, wait in a small buffer until all are there to be summed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.ir.ops.planes import Planes
from l0compile.ir.ops.winograd import transforms
from l0compile.kernels.cpu.lanes import (
    Expr,
    activated,
    ahead,
    body,
    kernel,
    param,
    scratch,
    store,
    symbol,
    variable,
)
from l0compile.kernels.cpu.sharing import rows_share_better, share, tasks
from l0compile.kernels.cpu.winograd_planes import RowPiece, clear, row_pieces, weighted_sum
from l0compile.kernels.definition import KernelCall, KernelDef, given
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class WinogradSpec:
    """activation(3x3 convolution + bias + residual) from B^T d of planes that are at least two pixels wide.

    Attributes:
        n: output planes.
        columns: columns of each of the m + 2 weights, which are dense.
        rows: rows of a block of a weight; it has one column.
        channels: planes of an image before B^T.
        source: layout of B^T d.
        result: layout of the output planes.
        m: rows of a strip.
        bias: there is a bias.
        residual: there is a residual.
        activation: a key of ``ACTIVATIONS``, or "prelu", which takes a slope for each output plane.
    """

    n: int
    columns: int
    rows: int
    channels: int
    source: Planes
    result: Planes
    m: int
    bias: bool
    residual: bool
    activation: str


def _inside(width: int, tile: TokenTile) -> list[RowPiece]:
    """A row as (start, lanes) of registers that stay inside; the last two may overlap."""
    lanes = tile.vector
    while lanes > width:
        lanes //= 2
    starts = [*range(0, width - lanes + 1, lanes)]
    return [(start, lanes) for start in starts] + ([(width - lanes, lanes)] if width % lanes else [])


def winograd(spec: WinogradSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, data, offsets[, bias][, residual][, slope], y); images and nnz are symbolic."""
    blocks, planes = -(-spec.n // spec.rows), spec.result
    with kernel("winograd") as builder:
        images, nnz = symbol("images"), symbol("nnz")
        x = param("x", (images, (spec.m + 2) * spec.channels, spec.source.size))
        data = param("data", (nnz, 1, spec.rows))
        offsets = param("offsets", (spec.columns,), "int32")
        bias = param("bias", (spec.n,)) if spec.bias else None
        residual = param("residual", (images, spec.n, planes.size)) if spec.residual else None
        slope = param("slope", (spec.n,)) if spec.activation == "prelu" else None
        y = param("y", (images, spec.n, planes.size))
        pieces = row_pieces(spec.source.width, tile)
        together = min(spec.source.height, max(1, tile.vectors // len(pieces)))
        groups = -(-spec.source.height // together)
        threads = max(1, min(tile.threads, blocks))
        by_rows = rows_share_better(spec.source.height, together, blocks, tile)
        work = _Emission(spec, tile, blocks, pieces, (x, data, offsets, bias, residual, slope, y))
        with body(), tasks(images, groups, threads, by_rows) as (image, group, thread):
            products = scratch((spec.m + 2, spec.rows, together * work.lanes))
            with share(True, blocks, threads, thread) as j:
                for count, chosen in _cases(spec.source.height, together, group):
                    with chosen:
                        work.block(image, group * together, count, j, products)
                with TB.serial(0, TB.min(spec.rows, spec.n - j * spec.rows)) as r:
                    work.border((image, j * spec.rows + r), group, groups)
    return builder.get()


@contextmanager
def _when(condition: Expr) -> Iterator[None]:
    with TB.If(condition), TB.Then():
        yield


@contextmanager
def _always() -> Iterator[None]:
    yield


def _cases(height: int, together: int, group: Expr) -> list[tuple[int, Any]]:
    """(strips of the group, when): the last group may have fewer."""
    whole, rest = divmod(height, together)
    if not rest:
        return [(together, _always())]
    return [(together, _when(group < whole)), (rest, _when(group == whole))]


class _Emission:
    """The operands and the tiling of one kernel while it is emitted."""

    def __init__(
        self,
        spec: WinogradSpec,
        tile: TokenTile,
        blocks: int,
        pieces: list[RowPiece],
        operands: tuple[Any, ...],
    ) -> None:
        self.spec, self.tile, self.blocks, self.pieces = spec, tile, blocks, pieces
        self.x, self.data, self.offsets, self.bias, self.residual, self.slope, self.y = operands
        self.lanes = pieces[-1][0] + pieces[-1][1]

    def block(self, image: Expr, first: Expr, count: int, j: Expr, products: Any) -> None:
        """One block of rows of the weight at ``count`` strips from ``first`` on."""
        places = [(i, start, lanes) for i in range(count) for start, lanes in self.pieces]
        with TB.serial(0, self.spec.m + 2) as k:
            for begin in range(0, len(places), self.tile.vectors):
                self._product(image, first, k, j, places[begin : begin + self.tile.vectors], products)
        for r in range(self.spec.rows):
            row = j * self.spec.rows + r
            with _always() if self.spec.n % self.spec.rows == 0 else _when(row < self.spec.n):
                for i in range(count):
                    self._finish((image, row), r, i, first + i, products)

    def _product(
        self,
        image: Expr,
        first: Expr,
        k: Expr,
        j: Expr,
        places: Sequence[tuple[int, int, int]],
        products: Any,
    ) -> None:
        spec = self.spec
        registers = [(r, variable(place[2]), place) for r in range(spec.rows) for place in places]
        for _, acc, (_, _, lanes) in registers:
            store(acc, TB.Broadcast(TB.float32(0), lanes), TB.Ramp(0, 1, lanes))
        strip = k * (spec.channels * spec.source.size) + first * spec.source.pitch
        with TB.serial(0, spec.columns) as c:
            block = (k * self.blocks + j) * spec.columns + c
            ahead(self.data, block + self.tile.core.prefetch_bytes // (4 * spec.rows), 0, 0)
            place = TB.cast(self.offsets[c], "int64") + strip
            for r, acc, (i, start, lanes) in registers:
                pixels = self.x[image, 0, TB.Ramp(place + (i * spec.source.pitch + start), 1, lanes)]
                total = acc[TB.Ramp(0, 1, lanes)] + TB.Broadcast(self.data[block, 0, r], lanes) * pixels
                store(acc, total, TB.Ramp(0, 1, lanes))
        for r, acc, (i, start, lanes) in registers:
            at = TB.Ramp(i * self.lanes + start, 1, lanes)
            store(products, acc[TB.Ramp(0, 1, lanes)], k, r, at)

    def _finish(self, plane: tuple[Expr, Expr], r: int, i: int, strip: Expr, products: Any) -> None:
        """The rows of a strip from its products, and the zeros after each."""
        spec, planes = self.spec, self.spec.result
        for a, factors in enumerate(transforms(spec.m).result):
            row = strip * spec.m + a
            with _always() if planes.height % spec.m == 0 else _when(row < planes.height):
                begin = planes.lead + row * planes.pitch
                for start, lanes in _inside(planes.width, self.tile):
                    at, pixels = TB.Ramp(i * self.lanes + start, 1, lanes), TB.Ramp(begin + start, 1, lanes)
                    value = weighted_sum([products[k, r, at] for k in range(spec.m + 2)], factors, lanes)
                    value = value if self.bias is None else value + TB.Broadcast(self.bias[plane[1]], lanes)
                    value = value if self.residual is None else value + self.residual[(*plane, pixels)]
                    slope = None if self.slope is None else self.slope[plane[1]]
                    store(self.y, activated(value, spec.activation, slope), *plane, pixels)
                for gap in range(planes.width, planes.pitch):
                    store(self.y, TB.float32(0), *plane, begin + gap)

    def border(self, plane: tuple[Expr, ...], group: Expr, groups: int) -> None:
        """The zeros before the first and behind the last row, along with the first and last group of strips."""
        planes: Planes = self.spec.result
        with _when(group == 0):
            clear(self.y, plane, 0, planes.lead)
        with _when(group == groups - 1):
            clear(self.y, plane, planes.lead + planes.height * planes.pitch, planes.size)


def _call(node: fx.Node) -> KernelCall:
    x, data, offsets, bias, residual, n, source, result, m, activation, *slope = node.args
    spec = WinogradSpec(
        n=n, columns=int(offsets.meta["val"].shape[0]), rows=int(data.meta["val"].shape[2]),
        channels=int(x.meta["val"].shape[1]) // (m + 2), source=Planes(*source), result=Planes(*result), m=m,
        bias=bias is not None, residual=residual is not None, activation=activation,
    )  # fmt: skip
    return KernelCall(spec, given(x, data, offsets, bias, residual, *slope))


WINOGRAD = KernelDef(
    name="winograd", calls={"packed_winograd": _call}, spec=WinogradSpec, emit=winograd, costs=None
)
