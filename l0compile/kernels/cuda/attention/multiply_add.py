"""Products of float32 numbers by multiply-adds, sums in registers.

A warp has 16 rows or more of the scores; a lane has a quarter of its rows, and of their columns each eighth one. Four
numbers of a row are read at once; lanes of the same rows, or columns, read the same place.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.attention.device_functions import fill
from l0compile.kernels.cuda.attention.schedules import weight_row
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.ptx import kept, registers
from l0compile.kernels.tir import TB

_WIDE = 4  # numbers that are read at once
_GROUPS, _COLUMNS = 4, 8  # lanes of a warp, by rows and by columns


@dataclass(frozen=True)
class MultiplyAdd:
    """The registers of a lane.

    Attributes:
        scores: of a step, then its weights.
        sums: of values, by weight.
    """

    given: CudaOperands
    tile: QueryTile
    scores: Any
    sums: Any

    @classmethod
    def of(cls, given: CudaOperands, tile: QueryTile) -> "MultiplyAdd":
        """Its registers, sums at zero."""
        rows = given.schedule.warp_rows // _GROUPS
        sums = rows * (_up(given.spec.value_dim) // _COLUMNS)
        scores = rows * given.schedule.keys // _COLUMNS
        made = cls(given, tile, registers(scores, "float32"), registers(sums, "float32"))
        fill(made.sums, sums, TB.float32(0))
        return made

    @property
    def rows(self) -> range:
        """Rows of which a lane has scores."""
        return range(self.given.schedule.warp_rows // _GROUPS)

    @property
    def columns(self) -> range:
        """Columns of which a lane has scores, in each of its rows."""
        return range(self.given.schedule.keys // _COLUMNS)

    @property
    def features(self) -> range:
        """Features of which a lane has sums, in each of its rows."""
        return range(_up(self.given.spec.value_dim) // _COLUMNS)

    @property
    def sharing(self) -> tuple[int, ...]:
        """Bits of the numbers of lanes that have other columns of the same rows."""
        return 1, 2, 4

    def row(self, number: int) -> Expr:
        """A row's place in the tile of queries."""
        first = self.tile.warp * self.given.schedule.warp_rows
        return first + number * _GROUPS + TB.truncdiv(self.tile.lane, _COLUMNS)

    def column(self, number: int) -> Expr:
        """A column's place in the step of keys."""
        return number * _COLUMNS + TB.truncmod(self.tile.lane, _COLUMNS)

    def score(self, row: int, column: int) -> int:
        """The register of a score."""
        return row * len(self.columns) + column

    def sum(self, row: int, feature: int) -> int:
        """The register of a sum."""
        return row * len(self.features) + feature

    def take_queries(self) -> None:
        """They stay in shared memory."""

    def multiply_keys(self, stage: Expr) -> None:
        """Scores of the keys that lie at shared address ``stage``."""
        fill(self.scores, len(self.rows) * len(self.columns), TB.float32(0))
        row = self.given.plan.key_row
        queries = kept(self.row(0) * (row * 4) + self.given.plan.queries + self.tile.shared)
        keys = kept(stage + self.column(0) * (row * 4))
        left, right = registers(len(self.rows) * _WIDE, "float32"), registers(_WIDE, "float32")
        with TB.serial(0, self.given.spec.dim // _WIDE) as d:
            for i in self.rows:
                self._load(left, i * _WIDE, queries + i * (_GROUPS * row * 4) + d * 16)
            for j in self.columns:
                self._load(right, 0, keys + j * (_COLUMNS * row * 4) + d * 16)
                for i in self.rows:
                    for part in range(_WIDE):
                        self._add(self.scores, self.score(i, j), left[i * _WIDE + part], right[part])

    def add_values(self, stage: Expr) -> None:
        """Add the values that lie at shared address ``stage``, by the weights in the place of the scores."""
        self._share_weights()
        row, weight = self.given.plan.value_row, weight_row(self.given.schedule)
        weights = kept(self.row(0) * (weight * 4) + self.given.plan.weights + self.tile.shared)
        values = kept(stage + TB.truncmod(self.tile.lane, _COLUMNS) * 16)
        left, right = registers(len(self.rows) * _WIDE, "float32"), registers(_WIDE, "float32")
        with TB.serial(0, self.given.schedule.keys // _WIDE) as key:
            for i in self.rows:
                self._load(left, i * _WIDE, weights + i * (_GROUPS * weight * 4) + key * 16)
            for part in range(_WIDE):
                for f in self.features[::_WIDE]:
                    self._load(right, 0, values + (key * _WIDE + part) * (row * 4) + f * (_COLUMNS * 4))
                    for i in self.rows:
                        for x in range(_WIDE):
                            self._add(self.sums, self.sum(i, f + x), left[i * _WIDE + part], right[x])

    def _share_weights(self) -> None:
        """Write a warp's weights to shared memory, where its other lanes find them."""
        weight = weight_row(self.given.schedule)
        ptx.warp_barrier()  # all lanes have read those of the step before
        for i in self.rows:
            for j in self.columns:
                at = (self.row(i) * weight + self.column(j)) * 4 + self.given.plan.weights
                self._store(at, self.scores, self.score(i, j))
        ptx.warp_barrier()

    def _load(self, to: Any, first: int, place: Expr) -> None:
        ptx.load_shared(ptx.at(to, first), place, 4, "float32")

    def _store(self, place: Expr, numbers: Any, first: int) -> None:
        ptx.store_shared(self.tile.shared + place, ptx.at(numbers, first), 1, "float32")

    def _add(self, sums: Any, place: int, left: Expr, right: Expr) -> None:
        store(sums, sums[place] + left * right, place)

    def keep_results(self) -> None:
        """Write the sums to shared memory, each warp to its own rows."""
        row = self.given.plan.value_row
        for i in self.rows:
            for f in self.features:
                column = (
                    f // _WIDE * _WIDE * _COLUMNS + f % _WIDE + TB.truncmod(self.tile.lane, _COLUMNS) * _WIDE
                )
                at = (self.row(i) * row + column) * 4
                self._store(at, self.sums, self.sum(i, f))


def _up(size: int) -> int:
    return -(-size // 32) * 32
