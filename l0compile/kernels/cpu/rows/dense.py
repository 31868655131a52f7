"""Dense linear layer on rows, outputs in lanes (oracle: ``l0compile::rows_linear``).

Weights lie in memory in the order in which they are multiplied, each by some tokens at once, so few tokens take no
longer than reading the weights does, and none is packed. Threads share groups of rows of the weight, and the tokens of
a group where they are many.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import (
    ACTIVATIONS,
    Expr,
    body,
    broadcast,
    held,
    kernel,
    param,
    ramp,
    store,
    symbol,
    variable,
)
from l0compile.kernels.cpu.rows.spec import RowsLinearSpec
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

_MOST, _FEWER = 8, 4  # tokens at once


def rows_linear(spec: RowsLinearSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, data[, bias], y): x [M, k] -> y [M, n]; M is symbolic."""
    groups = -(-spec.n // spec.rows)
    with kernel("rows_linear") as builder:
        tokens = symbol("tokens")
        x = param("x", (tokens, spec.k))
        data = param("data", (groups * spec.k, 1, spec.rows))
        bias = param("bias", (spec.n,)) if spec.bias else None
        y = param("y", (tokens, spec.n))
        at_once = _tokens_at_once(spec, tile)
        with body(), TB.parallel(0, groups * tile.threads) as task:
            group, share = task // tile.threads, task % tile.threads
            passes = (tokens + at_once - 1) // at_once
            begin, end = (held((share + i) * passes // tile.threads) for i in (0, 1))
            whole = held(TB.min(end, tokens // at_once))
            with TB.serial(0, whole - begin) as number:
                _Tokens(spec, tile, x, data, bias, y, group, (begin + number) * at_once, at_once).emit()
            with TB.If(whole < end), TB.Then():
                for first, count in _rest(spec, tokens, at_once):
                    one = _Tokens(spec, tile, x, data, bias, y, group, held(first), count)
                    one.emit() if spec.tokens is not None else _if(tokens - first >= count, one.emit)
    return builder.get()


def _tokens_at_once(spec: RowsLinearSpec, tile: TokenTile) -> int:
    """As many as have accumulators beside the weights of a column and a number."""
    vectors = spec.rows // tile.vector
    return _MOST if _MOST * vectors + vectors < tile.registers else _FEWER


def _rest(spec: RowsLinearSpec, tokens: Expr, at_once: int) -> list[tuple[Expr, int]]:
    """(first token, how many) of what may follow the last whole pass."""
    if spec.tokens is not None:
        rest = spec.tokens % at_once
        return [(tokens - rest, rest)] if rest else []
    found, count = [], at_once // 2
    while count:
        found.append((tokens // (2 * count) * (2 * count), count))
        count //= 2
    return found


def _if(condition: Expr, then: Any) -> None:
    with TB.If(condition), TB.Then():
        then()


@dataclass(frozen=True)
class _Tokens:
    """``count`` tokens from ``first`` on, by the rows of a group."""

    spec: RowsLinearSpec
    tile: TokenTile
    x: Any
    data: Any
    bias: Any
    y: Any
    group: Expr
    first: Expr
    count: int

    def emit(self) -> None:
        spec, size = self.spec, self.tile.vector
        vectors = spec.rows // size
        # Independent accumulators hide the latency of an addition.
        sets = max(1, self.tile.core.accumulators // (vectors * self.count))
        sums = [[[variable(size) for _ in range(vectors)] for _ in range(self.count)] for _ in range(sets)]
        for register in (register for each in sums for token in each for register in token):
            store(register, broadcast(TB.float32(0), size), ramp(0, size))
        turns = spec.k // sets
        with TB.serial(0, turns) as turn:
            for number, each in enumerate(sums):
                self._add(each, turn * sets + number)
        with TB.serial(0, spec.k - turns * sets) as rest:
            self._add(sums[0], turns * sets + rest)
        for number in range(self.count):
            for v in range(vectors):
                self._finish([each[number][v] for each in sums], self.first + number, v)

    def _add(self, sums: list[list[Any]], f: Expr) -> None:
        """Add the products with feature ``f``."""
        size = self.tile.vector
        lanes, row = ramp(0, size), self.group * self.spec.k + f
        for number, token in enumerate(sums):
            x = broadcast(self.x[self.first + number, f], size)
            for v, register in enumerate(token):
                weights = self.data[row, 0, ramp(v * size, size)]
                store(register, register[lanes] + weights * x, lanes)

    def _finish(self, sums: list[Any], token: Expr, v: int) -> None:
        """Write a register of results."""
        spec, size = self.spec, self.tile.vector
        lanes, total = ramp(0, size), sums[0]
        for other in sums[1:]:
            store(total, total[lanes] + other[lanes], lanes)
        row = self.group * spec.rows + v * size

        def whole() -> None:
            if self.bias is not None:
                store(total, total[lanes] + self.bias[ramp(row, size)], lanes)
            store(self.y, ACTIVATIONS[spec.activation](total[lanes]), token, ramp(row, size))

        def part() -> None:
            # Numbers are picked out of a copy: what is picked from lies in memory, not in a register.
            copy, one = variable(size), variable(1)
            store(copy, total[lanes], lanes)
            with TB.serial(0, TB.max(spec.n - row, 0)) as r:
                store(one, copy[r] if self.bias is None else copy[r] + self.bias[row + r], 0)
                store(self.y, ACTIVATIONS[spec.activation](one[0]), token, row + r)

        if spec.n % size == 0 and spec.n % spec.rows == 0:
            whole()
            return
        with TB.If(row + size <= spec.n):
            with TB.Then():
                whole()
            with TB.Else():
                part()
