"""A linear layer at a single token, outputs in lanes.

The weights of a column of a block are one vector, and so are several columns side by side where that still fits a
register: block after block is then one multiplication of what lies in memory. A column of narrow numbers is one of
words.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.dot import as_float, dot
from l0compile.kernels.cpu.lanes import (
    ACTIVATIONS,
    Expr,
    broadcast,
    kept,
    ramp,
    repeat,
    scratch,
    store,
    variable,
)
from l0compile.kernels.cpu.linear.blocks import LinearBuffers, feature
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.cpu.pair import pair_dot
from l0compile.kernels.cpu.word_form import inverses_of
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


def one_token(
    spec: LinearSpec,
    tile: TokenTile,
    schedule: LinearSchedule,
    to: LinearBuffers,
    t: Expr,
    begin: Expr,
    end: Expr,
) -> None:
    """Compute the first token of tile ``t``: the block rows of the units from ``begin`` to ``end``."""
    groups, columns = spec.rows // schedule.rows, _columns(spec, tile)
    # Features of one token lie a tile apart, and every row reads them.
    x = scratch((spec.k,), "float32" if spec.numbers == "float32" else "int32")
    with TB.serial(0, spec.k) as f:
        store(x, to.x[t, f, 0], f)
    # A block row that two shares have units of belongs to the one that has its first.
    first, last = (begin + groups - 1) // groups, (end + groups - 1) // groups
    with TB.serial(0, last - first) as i:
        j = first + i
        # Independent accumulators hide the latency of an addition.
        most = tile.vector * tile.core.latency
        for at in range(0, spec.rows, most):
            height = min(spec.rows - at, most)
            _Rows(spec, tile, to, x, t, j, at, height, columns).emit()


def _columns(spec: LinearSpec, tile: TokenTile) -> int:
    """Columns that one vector takes."""
    if spec.dense:
        return max(1, tile.vector // spec.rows)
    if spec.k % spec.cols:
        return 1
    return max(
        c for c in range(1, spec.cols + 1) if spec.cols % c == 0 and (c * spec.rows <= tile.vector or c == 1)
    )


@dataclass(frozen=True)
class _Rows:
    """``height`` rows of block row ``j``, from row ``at`` of the block on."""

    spec: LinearSpec
    tile: TokenTile
    to: LinearBuffers
    x: Any
    t: Expr
    j: Expr
    at: int
    height: int
    columns: int

    def emit(self) -> None:
        widths = self._widths()
        count = max(1, self.tile.core.latency // len(widths))
        dtype = "int32" if self.spec.numbers == "int8" else "float32"
        sums = [[variable(width, dtype) for width in widths] for _ in range(count)]
        zero = TB.int32(0) if self.spec.numbers == "int8" else TB.float32(0)
        for accs in sums:
            for acc, width in zip(accs, widths, strict=True):
                store(acc, broadcast(zero, width), ramp(0, width))
        self._walk(sums)
        row = self.j * self.spec.rows + self.at
        for number, width in enumerate(widths):
            self._finish([accs[number] for accs in sums], width, row + number * self.tile.vector)

    def _widths(self) -> list[int]:
        if self.columns > 1:
            return [self.height * self.columns]
        vector = self.tile.vector
        return [min(vector, self.height - start) for start in range(0, self.height, vector)]

    def _walk(self, sums: list[list[Any]]) -> None:
        """Blocks, or columns of one, take turns with the sets of accumulators."""
        spec, sets, step = self.spec, len(sums), self.columns
        begin, count = self.to.stored(spec, self.j)
        if spec.dense:
            turns, turn = spec.k // (sets * step), sets * step
            with TB.serial(0, turns) as i:
                for number, accs in enumerate(sums):
                    self._add(begin, i * turn + number * step, 0, accs, step)
            with TB.serial(0, spec.k - turns * turn) as rest:
                self._add(begin, turns * turn + rest, 0, sums[0], 1)
        elif spec.cols % (sets * step) == 0:
            with TB.serial(0, count) as i, TB.serial(0, spec.cols // (sets * step)) as c:
                for number, accs in enumerate(sums):
                    self._add(begin, i, (c * sets + number) * step, accs, step)
        else:
            with TB.serial(0, count // sets) as i:
                for number, accs in enumerate(sums):
                    for c in range(0, spec.cols, step):
                        self._add(begin, i * sets + number, c, accs, step)
            with TB.serial(0, count % sets) as rest:
                for c in range(0, spec.cols, step):
                    self._add(begin, count // sets * sets + rest, c, sums[0], step)

    def _add(self, begin: Expr, i: Expr, c: Expr, accs: list[Any], columns: int) -> None:
        """Add ``columns`` columns from ``c`` on of the ``i``-th block."""
        spec, start = self.spec, self.at
        f = feature(spec, self.to.column(spec, begin, i), c)
        for number, acc in enumerate(accs):
            width = self._widths()[number] * columns // self.columns
            lanes = ramp(0, width)
            x = repeat(self.x[ramp(f, columns)], width // columns)
            weights = self.to.data[begin + i, c, ramp(start + number * self.tile.vector, width)]
            store(acc, self._multiply_add(acc[lanes], weights, x, width), lanes)

    def _multiply_add(self, total: Expr, weights: Expr, x: Expr, width: int) -> Expr:
        if self.spec.numbers == "int8":
            return dot(total, x, weights, width, self.tile, self.spec.fits16)
        if self.spec.numbers == "bfloat16":
            return pair_dot(total, x, weights, width, self.tile)
        return total + weights * x

    def _finish(self, sums: list[Any], width: int, row: Expr) -> None:
        total, lanes = sums[0], ramp(0, width)
        for acc in sums[1:]:
            store(total, total[lanes] + acc[lanes], lanes)
        rows = width // self.columns
        lanes = ramp(0, rows)
        for c in range(1, self.columns):
            store(total, total[lanes] + total[ramp(c * rows, rows)], lanes)
        if self.spec.numbers == "int8":
            total = self._scaled(total, row, rows)
        elif self.to.bias is not None:
            store(total, total[lanes] + self._of_rows(self.to.bias, row, rows), lanes)
        store(total, ACTIVATIONS[self.spec.activation](total[lanes]), lanes)
        if self.spec.result is not None:
            self._write_words(total, row, rows)
            return
        for r in range(rows):
            self._write(row + r, total[r])

    def _scaled(self, total: Any, row: Expr, rows: int) -> Any:
        """Sums of integers as float32, each with the scale of its row, and the bias in one rounding."""
        lanes, result = ramp(0, rows), variable(rows)
        whole = kept(total[lanes] + self._of_rows(self.to.start, row, rows, "int32"), rows, "int32")
        value = as_float(whole, rows) * self._of_rows(self.to.scale, row, rows)
        if self.to.bias is not None:
            value = value + self._of_rows(self.to.bias, row, rows)
        store(result, value, lanes)
        return result

    def _of_rows(self, buffer: Any, row: Expr, rows: int, dtype: str = "float32") -> Expr:
        """A number of each of some rows; those past n (ragged last block) have that of the last."""
        if self.spec.n % self.spec.rows == 0:
            return buffer[ramp(row, rows)]
        found = variable(rows, dtype)
        for r in range(rows):
            store(found, buffer[TB.min(row + r, self.spec.n - 1)], r)
        return found[ramp(0, rows)]

    def _write_words(self, total: Any, row: Expr, rows: int) -> None:
        """Results as words of features; n is a multiple of the rows of a block, and those are whole words."""
        form = self.spec.result
        assert form is not None
        for r in range(0, rows, form.features):
            values = [total[r + place] for place in range(form.features)]
            word = form.words(values, inverses_of(self.to.inverse, row + r, form.features), 1)
            self._first_lane(word, TB.int32(0), (row + r) // form.features)

    def _first_lane(self, value: Expr, zero: Expr, row: Expr) -> None:
        vector = self.tile.vector
        # The rest of the register is zero: whoever reads it finds finite numbers.
        first = ramp(TB.int32(0), vector) < broadcast(TB.int32(1), vector)
        register = TB.Select(first, broadcast(value, vector), broadcast(zero, vector))
        store(self.to.y, register, self.t, row, ramp(0, vector))

    def _write(self, row: Expr, value: Expr) -> None:
        to = self.to

        def write() -> None:
            result = value if to.residual is None else value + to.residual[self.t, row, 0]
            self._first_lane(result, TB.float32(0), row)

        if self.spec.n % self.spec.rows == 0:
            write()
        else:
            with TB.If(row < self.spec.n), TB.Then():
                write()
