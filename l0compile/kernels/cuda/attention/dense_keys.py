"""The keys of a range: all of a sequence, or those that the window of a tile of queries reaches."""

from dataclasses import dataclass

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda.attention.device_functions import both
from l0compile.kernels.cuda.attention.key_source import Marks
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.ptx import kept
from l0compile.kernels.tir import TB

_FAR = 1 << 29  # a window as wide as this has no end, and numbers of tokens stay below 2^31 beside it


@dataclass(frozen=True)
class DenseKeys:
    """The keys from ``low`` up to ``high``, in order."""

    given: CudaOperands
    tile: QueryTile
    low: Expr
    high: Expr
    steps: Expr

    @classmethod
    def of(cls, given: CudaOperands, tile: QueryTile) -> "DenseKeys":
        """Those that some query of the tile sees."""
        spec, size = given.spec, given.schedule.keys
        low, high = TB.int32(0), TB.cast(given.keys, "int32")
        if spec.before is not None:
            low = TB.max(low, tile.first - _bounded(spec.before))
        if spec.after is not None:
            high = TB.min(high, tile.end + _bounded(spec.after))
        low, high = kept(low), kept(high)
        return cls(given, tile, low, high, kept(TB.truncdiv(TB.max(high - low, 0) + (size - 1), size)))

    @property
    def looks_up(self) -> bool:
        return False

    def prepare(self, step: Expr) -> None:
        """Nothing: they follow from the number of the step."""

    def row_of(self, step: Expr, slot: Expr) -> tuple[Expr, Expr]:
        key = self._at(step, slot)
        return key, key < self.high

    def key(self, step: Expr, slot: Expr) -> Expr:
        return TB.min(self._at(step, slot), self.high - 1)

    def clear(self, step: Expr) -> Expr:
        spec, first = self.given.spec, self._at(step, 0)
        last = first + (self.given.schedule.keys - 1)
        clear = last < self.high
        if spec.before is not None:
            clear = TB.And(clear, first >= self.tile.end - 1 - _bounded(spec.before))
        if spec.after is not None:
            clear = TB.And(clear, last <= self.tile.first + _bounded(spec.after))
        return clear

    def of_row(self, row: Expr) -> Marks:
        spec, query = self.given.spec, self.tile.first + row
        low = None if spec.before is None else query - _bounded(spec.before)
        high = self.high if spec.after is None else TB.min(self.high, query + _bounded(spec.after) + 1)
        return tuple(kept(limit) for limit in (high, low) if limit is not None)

    def of_column(self, step: Expr, slot: Expr) -> Marks:
        return (kept(self._at(step, slot)),)

    def seen(self, row: Marks, column: Marks) -> Expr:
        (key,) = column
        seen = key < row[0]
        return seen if len(row) == 1 else both(seen, key >= row[1])

    def _at(self, step: Expr, slot: Expr) -> Expr:
        return self.low + step * self.given.schedule.keys + slot


def _bounded(limit: int) -> int:
    return max(-_FAR, min(_FAR, limit))
