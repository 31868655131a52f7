"""Products of 16-bit numbers by tensor cores, all sums in registers.

A warp holds 16 rows and 8 columns of the result of an ``mma.m16n8k16``: a lane has columns ``lane % 4 * 2`` and the
next one of rows ``lane / 4`` and ``lane / 4 + 8`` (PTX ISA, "Matrix Fragments for mma.m16n8k16"). The scores of two
such tiles side by side lie as the left operand of the product with the values needs them, so weights never leave
registers.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.attention.device_functions import fill, packed_pair
from l0compile.kernels.cuda.attention.schedules import held_depth
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.ptx import kept, registers
from l0compile.kernels.tir import TB

_DEPTH = 16  # of one product, and rows of it
_WIDTH = 8  # columns of it


@dataclass(frozen=True)
class TensorCores:
    """The registers of a warp's tiles.

    Attributes:
        left: fragments of the queries, words of two numbers.
        scores: of a step, then its weights.
        sums: of values, by weight.
    """

    given: CudaOperands
    tile: QueryTile
    left: Any
    scores: Any
    sums: Any

    @classmethod
    def of(cls, given: CudaOperands, tile: QueryTile) -> "TensorCores":
        """Their registers, sums at zero."""
        tiles = given.schedule.warp_rows // _DEPTH
        sums = tiles * _up(given.spec.value_dim) // _WIDTH * 4
        left = registers(tiles * held_depth(given.spec, given.schedule) * 4)
        made = cls(
            given, tile, left, registers(tiles * given.schedule.keys // 2, "float32"),
            registers(sums, "float32"),
        )  # fmt: skip
        fill(made.sums, sums, TB.float32(0))
        return made

    @property
    def row_tiles(self) -> int:
        return self.given.schedule.warp_rows // _DEPTH

    @property
    def rows(self) -> range:
        """Rows of which a lane has scores."""
        return range(2 * self.row_tiles)

    @property
    def columns(self) -> range:
        """Columns of which a lane has scores, in each of its rows."""
        return range(self.given.schedule.keys // 4)

    @property
    def features(self) -> range:
        """Features of which a lane has sums, in each of its rows."""
        return range(_up(self.given.spec.value_dim) // 4)

    @property
    def sharing(self) -> tuple[int, ...]:
        """Bits of the numbers of lanes that have other columns of the same rows."""
        return 1, 2

    def row(self, number: int) -> Expr:
        """A row's place in the tile of queries."""
        first = self.tile.warp * self.given.schedule.warp_rows
        return first + (number // 2 * _DEPTH + number % 2 * 8) + TB.truncdiv(self.tile.lane, 4)

    def column(self, number: int) -> Expr:
        """A column's place in the step of keys; the same for features."""
        return number // 2 * _WIDTH + number % 2 + TB.truncmod(self.tile.lane, 4) * 2

    def score(self, row: int, column: int) -> int:
        """The register of a score."""
        return self._register(row, column, self.given.schedule.keys)

    def sum(self, row: int, feature: int) -> int:
        """The register of a sum."""
        return self._register(row, feature, _up(self.given.spec.value_dim))

    def _register(self, row: int, column: int, width: int) -> int:
        place = row // 2 * (width // _WIDTH) + column // 2
        return place * 4 + row % 2 * 2 + column % 2

    def take_queries(self) -> None:
        """Move queries from shared memory to registers, as many as are held there."""
        place, held = self._own_queries(), held_depth(self.given.spec, self.given.schedule)
        for tile in range(self.row_tiles):
            for k in range(held):
                self._take(place, tile, k, self.left, (tile * held + k) * 4)

    def _own_queries(self) -> Expr:
        """Where a lane reads the first fragment of its warp's queries."""
        lane, row = self.tile.lane, self.given.plan.key_row
        query = self.tile.warp * self.given.schedule.warp_rows + TB.truncmod(lane, 16)
        return kept(
            (query * row + TB.truncdiv(lane, 16) * 8) * 2 + self.tile.shared + self.given.plan.queries
        )

    def _take(self, place: Expr, tile: int, k: int, to: Any, first: int) -> None:
        """One fragment of the queries."""
        at = place + (tile * _DEPTH * self.given.plan.key_row + k * _DEPTH) * 2
        ptx.ldmatrix(ptx.at(to, first), at, 4)

    def multiply_keys(self, stage: Expr) -> None:
        """Scores of the keys that lie at shared address ``stage``."""
        fill(self.scores, self.row_tiles * self.given.schedule.keys // 2, TB.float32(0))
        lane, row = self.tile.lane, self.given.plan.key_row
        key = TB.truncdiv(lane, 16) * 8 + TB.truncmod(lane, 8)
        start = kept(stage + (key * row + TB.truncmod(TB.truncdiv(lane, 8), 2) * 8) * 2)
        right, again = registers(4), registers(4 * self.row_tiles)
        held, depth = held_depth(self.given.spec, self.given.schedule), _up(self.given.spec.dim) // _DEPTH
        queries = self._own_queries() if held < depth else None
        for k in range(depth):
            for tile in range(self.row_tiles if k >= held else 0):
                self._take(queries, tile, k, again, tile * 4)
            for pair in range(self.given.schedule.keys // 16):
                at = start + (pair * 16 * row + k * _DEPTH) * 2
                ptx.ldmatrix(ptx.at(right), at, 4)
                for tile in range(self.row_tiles):
                    left = (self.left, (tile * held + k) * 4) if k < held else (again, tile * 4)
                    self._products(self.scores, tile, pair, self.given.schedule.keys, *left, right)

    def add_values(self, stage: Expr) -> None:
        """Add the values that lie at shared address ``stage``, by the weights in the place of the scores."""
        lane, row, width = self.tile.lane, self.given.plan.value_row, _up(self.given.spec.value_dim)
        start = kept(stage + (TB.truncmod(lane, 16) * row + TB.truncdiv(lane, 16) * 8) * 2)
        left, right = registers(4 * self.row_tiles), registers(4)
        for k in range(self.given.schedule.keys // _DEPTH):
            for tile in range(self.row_tiles):
                self._weights(left, tile, k)
            for pair in range(width // 16):
                at = start + (k * _DEPTH * row + pair * 16) * 2
                ptx.ldmatrix(ptx.at(right), at, 4, transposed=True)
                for tile in range(self.row_tiles):
                    self._products(self.sums, tile, pair, width, left, tile * 4, right)

    def _products(
        self, sums: Any, tile: int, pair: int, width: int, left: Any, first: int, right: Any
    ) -> None:
        """Two tiles of products side by side."""
        for half in range(2):
            place = (tile * (width // _WIDTH) + 2 * pair + half) * 4
            self._product(ptx.at(sums, place), left, first, right, 2 * half)

    def _product(self, sums: Expr, left: Any, first: int, right: Any, second: int) -> None:
        """One product of depth 16, which are two before sm_80."""
        if self.given.asynchronous:
            ptx.mma(self.given.spec.dtype, sums, ptx.at(left, first), ptx.at(right, second))
            return
        for half in range(2):
            ptx.mma_k8(sums, ptx.at(left, first + 2 * half), ptx.at(right, second + half))

    def _weights(self, left: Any, tile: int, k: int) -> None:
        """The left operand of the values of 16 keys: weights, rounded and in words of two."""
        first = (tile * (self.given.schedule.keys // _WIDTH) + 2 * k) * 4
        for word in range(4):
            low = self.scores[first + 2 * word]
            high = self.scores[first + 2 * word + 1]
            store(
                left, packed_pair(low, high, self.given.spec.dtype, self.given.asynchronous), tile * 4 + word
            )

    def keep_results(self) -> None:
        """Write the sums to shared memory, each warp to its own rows, in the type of the result."""
        row, word = self.given.plan.value_row, registers(1)
        for number in self.rows:
            for feature in self.features[::2]:
                low, high = (self.sums[self.sum(number, feature + i)] for i in range(2))
                at = (self.row(number) * row + self.column(feature)) * 2
                store(word, packed_pair(low, high, self.given.spec.dtype, self.given.asynchronous), 0)
                ptx.store_shared(self.tile.shared + at, ptx.at(word), 1)


def _up(size: int) -> int:
    return -(-size // _DEPTH) * _DEPTH
