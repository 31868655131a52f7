"""Matrix products of a batch (oracle: ``l0compile::product``).

A task is some rows of the left matrix by a tile of columns of the right one. It copies a part of these columns into a
panel in the first cache, a register of columns side by side, multiplies all its rows by that, and goes on to the next
part. So both layouts of the right matrix are read once by each task, whatever lies between its rows in memory.
"""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.ir.nodes import same_size, shape
from l0compile.kernels.cpu.lanes import (
    Expr,
    body,
    broadcast,
    held,
    kernel,
    param,
    ramp,
    scratch,
    store,
    symbol,
    variable,
)
from l0compile.kernels.cpu.rows.transpose import transposed
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

_ROWS = 128  # of a task: their sums stay in the second cache
_PART = 64  # features of a panel, a multiple of a register's lanes: it takes a third of the first cache


@dataclass(frozen=True)
class ProductSpec:
    """left @ right, see ``l0compile::product``.

    Attributes:
        batch: whether the left matrix, and the right one, is another one for each of the batch.
        transposed: the right matrix lies as [n, k].
    """

    batch: tuple[bool, bool]
    transposed: bool


def product(spec: ProductSpec, tile: TokenTile) -> Any:
    """PrimFunc(left, right, y): all sizes are symbolic."""
    with kernel("product") as builder:
        batch, m, n, k = (symbol(name) for name in ("batch", "m", "n", "k"))
        sizes = [batch if one else 1 for one in spec.batch]
        left = param("left", (sizes[0], m, k))
        right = param("right", (sizes[1], *((n, k) if spec.transposed else (k, n))))
        y = param("y", (batch if any(spec.batch) else 1, m, n))
        groups, columns = (m + (_ROWS - 1)) // _ROWS, (n + (tile.lanes - 1)) // tile.lanes
        with body(), TB.parallel(0, (batch if any(spec.batch) else 1) * groups * columns) as index:
            one, rest = held(index // (groups * columns)), held(index % (groups * columns))
            row, column = held(rest % groups * _ROWS), held(rest // groups * tile.lanes)
            task = _Task(spec, tile, left, right, y, one, row, column, (m, n, k))
            task.emit()
    return builder.get()


@dataclass(frozen=True)
class _Task:
    """Rows from ``row`` on by columns from ``column`` on, of number ``one`` of the batch; ``sizes``: m, n, k."""

    spec: ProductSpec
    tile: TokenTile
    left: Any
    right: Any
    y: Any
    one: Expr
    row: Expr
    column: Expr
    sizes: tuple[Expr, Expr, Expr]

    def emit(self) -> None:
        m, n, k = self.sizes
        rows, lanes = held(TB.min(m - self.row, _ROWS)), self.tile.lanes
        panel, sums = scratch((_PART, lanes)), scratch((_ROWS, lanes))
        blocks = held((rows + (self.tile.rows - 1)) // self.tile.rows)
        with TB.serial(0, blocks * self.tile.rows) as i:
            for v in self._registers():
                store(sums, broadcast(TB.float32(0), self.tile.vector), i, v)
        with TB.serial(0, (k + (_PART - 1)) // _PART) as part:
            first = held(part * _PART)
            count = held(TB.min(k - first, _PART))
            self._fill(panel, first, count)
            with TB.serial(0, blocks) as block:
                self._multiply(panel, sums, held(block * self.tile.rows), first, count)
        with TB.If(self.column + lanes <= n):
            with TB.Then(), TB.serial(0, rows) as i:
                for v, place in enumerate(self._registers()):
                    at = ramp(self.column + v * self.tile.vector, self.tile.vector)
                    store(self.y, sums[i, place], self.one, self.row + i, at)
            with TB.Else(), TB.serial(0, rows) as i, TB.serial(0, n - self.column) as j:
                store(self.y, sums[i, j], self.one, self.row + i, self.column + j)

    def _registers(self) -> list[Expr]:
        return [ramp(v * self.tile.vector, self.tile.vector) for v in range(self.tile.vectors)]

    def _number(self, side: int) -> Expr:
        return self.one if self.spec.batch[side] else 0

    def _fill(self, panel: Any, first: Expr, count: Expr) -> None:
        """Copy features of the columns into the panel; lanes past the last column hold others of them."""
        size, n = self.tile.vector, self.sizes[1]
        whole = self.column + self.tile.lanes <= n
        if not self.spec.transposed:
            with TB.serial(0, count) as d, TB.If(whole):
                with TB.Then():
                    for v, place in enumerate(self._registers()):
                        at = ramp(self.column + v * size, size)
                        store(panel, self.right[self._number(1), first + d, at], d, place)
                with TB.Else(), TB.serial(0, self.tile.lanes) as j:
                    at = TB.min(self.column + j, n - 1)
                    store(panel, self.right[self._number(1), first + d, at], d, j)
            return
        squares = held(count // size)
        with TB.serial(0, self.tile.vectors) as v:
            lane = held(v * size)
            with TB.serial(0, squares) as square:
                self._turn(panel, lane, first, held(square * size))
            with TB.serial(0, size) as j:
                column = held(TB.min(self.column + lane + j, n - 1))
                with TB.serial(0, count - squares * size) as d:
                    feature = squares * size + d
                    value = self.right[self._number(1), column, first + feature]
                    store(panel, value, feature, lane + j)

    def _turn(self, panel: Any, lane: Expr, first: Expr, feature: Expr) -> None:
        """A square of the panel from as many columns that lie in rows."""
        size, last = self.tile.vector, self.sizes[1] - 1
        rows = [
            self.right[self._number(1), TB.min(self.column + lane + j, last), ramp(first + feature, size)]
            for j in range(size)
        ]
        for d, column in enumerate(transposed(rows)):
            store(panel, column, feature + d, ramp(lane, size))

    def _multiply(self, panel: Any, sums: Any, block: Expr, first: Expr, count: Expr) -> None:
        """Add the products of a block of rows; of those past the last one, the last one again."""
        size, lanes = self.tile.vector, ramp(0, self.tile.vector)
        rows = [held(TB.min(self.row + block + r, self.sizes[0] - 1)) for r in range(self.tile.rows)]
        acc = [[variable(size) for _ in range(self.tile.vectors)] for _ in rows]
        for r, registers in enumerate(acc):
            for register, place in zip(registers, self._registers(), strict=True):
                store(register, sums[block + r, place], lanes)
        with TB.serial(0, count) as d:
            for row, registers in zip(rows, acc, strict=True):
                x = broadcast(self.left[self._number(0), row, first + d], size)
                for register, place in zip(registers, self._registers(), strict=True):
                    store(register, register[lanes] + x * panel[d, place], lanes)
        for r, registers in enumerate(acc):
            for register, place in zip(registers, self._registers(), strict=True):
                store(sums, register[lanes], block + r, place)


def _call(node: fx.Node) -> KernelCall:
    left, right, turned = node.args
    batch = (not same_size(shape(left)[0], 1), not same_size(shape(right)[0], 1))
    return KernelCall(ProductSpec(batch, turned), (left, right))


PRODUCT = KernelDef(name="product", calls={"product": _call}, spec=ProductSpec, emit=product, costs=None)
