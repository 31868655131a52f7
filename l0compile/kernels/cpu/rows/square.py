"""Moving a square of numbers, a register of tokens by as many features, between rows and packed tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, broadcast, ramp, store
from l0compile.kernels.cpu.rows.transpose import transposed
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class Square:
    """Where a square lies.

    Attributes:
        rows: buffer [tokens, features].
        packed: buffer [tiles, features, lanes].
        size: numbers of a register; a square has as many tokens and as many features.
        token: its first token in ``rows``.
        feature: its first feature in ``rows``.
        features: features of a row.
        place: its first element in ``packed``: tile, feature, lane.
        live: tokens that it holds; may be more than ``size``.
    """

    rows: Any
    packed: Any
    size: int
    token: Expr
    feature: Expr
    features: int
    place: tuple[Expr, Expr, Expr]
    live: Expr

    def pack(self) -> None:
        """From rows to packed tokens; lanes without a token become zero, so that whoever reads them finds numbers."""

        def row(i: int) -> Expr:
            return self._row(TB.min(self.token + i, self.token + self.live - 1))

        def masked(column: Expr) -> Expr:
            there = ramp(TB.int32(0), self.size) < broadcast(TB.cast(self.live, "int32"), self.size)
            return TB.Select(there, column, broadcast(TB.float32(0), self.size))

        def whole() -> None:
            self._pack([self._row(self.token + i) for i in range(self.size)], lambda column: column)

        def part() -> None:
            self._pack([row(i) for i in range(self.size)], masked)

        self._each(lambda: _either(self.live >= self.size, whole, part), self._pack_numbers)

    def unpack(self) -> None:
        """From packed tokens to rows."""

        def whole() -> None:
            for i, row in enumerate(self._transposed()):
                self._write(i, row)

        def part() -> None:
            for i, row in enumerate(self._transposed()):
                with TB.If(self.live > i), TB.Then():
                    self._write(i, row)

        self._each(lambda: _either(self.live >= self.size, whole, part), self._unpack_numbers)

    def _each(self, square: Callable[[], None], numbers: Callable[[Expr], None]) -> None:
        """The square at once, or, where a row has not as many features left, number by number."""
        if self.features % self.size == 0:
            square()
            return

        def rest() -> None:
            with TB.serial(0, self.features - self.feature) as f:
                numbers(f)

        if self.features < self.size:
            rest()
        else:
            _either(self.feature + self.size <= self.features, square, rest)

    def _row(self, token: Expr) -> Expr:
        return self.rows[token, ramp(self.feature, self.size)]

    def _write(self, i: int, row: Expr) -> None:
        store(self.rows, row, self.token + i, ramp(self.feature, self.size))

    def _column(self, f: Expr) -> Expr:
        tile, feature, lane = self.place
        return tile, feature + f, ramp(lane, self.size)

    def _transposed(self) -> list[Expr]:
        return transposed([self.packed[self._column(f)] for f in range(self.size)])

    def _pack(self, rows: list[Expr], form: Callable[[Expr], Expr]) -> None:
        for f, column in enumerate(transposed(rows)):
            store(self.packed, form(column), *self._column(f))

    def _pack_numbers(self, f: Expr) -> None:
        tile, feature, lane = self.place
        with TB.serial(0, self.size) as i:
            token = TB.min(self.token + i, self.token + self.live - 1)
            value = TB.Select(i < self.live, self.rows[token, self.feature + f], TB.float32(0))
            store(self.packed, value, tile, feature + f, lane + i)

    def _unpack_numbers(self, f: Expr) -> None:
        tile, feature, lane = self.place
        with TB.serial(0, TB.min(self.live, self.size)) as i:
            store(self.rows, self.packed[tile, feature + f, lane + i], self.token + i, self.feature + f)


def _either(condition: Expr, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
    with TB.If(condition):
        with TB.Then():
            then()
        with TB.Else():
            otherwise()
