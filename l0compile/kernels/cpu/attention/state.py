"""What the microkernels of attention work on: the buffers, one block of queries, one step of keys."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.dot import lanes_of
from l0compile.kernels.cpu.lanes import Expr, splat, store, variable
from l0compile.kernels.cpu.pair import pair_dot
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class AttentionBuffers:
    """The arguments of the kernel: its buffers, how many sequences there are, and the queries and keys of each."""

    spec: AttentionSpec
    tile: TokenTile
    q: Any
    k: Any
    v: Any
    mask: Any
    bias: Any
    inverse: Any
    y: Any
    batch: Expr
    queries: Expr
    keys: Expr

    @property
    def rows(self) -> int:
        """Keys, or features of a value, accumulated at once: as many registers as a tile of tokens gets elsewhere."""
        return self.tile.rows * self.tile.vectors

    @property
    def vector(self) -> Expr:
        return TB.Ramp(0, 1, self.tile.vector)

    def splat(self, value: Expr) -> Expr:
        return splat(value, self.tile)


@dataclass(frozen=True)
class QueryBlock:
    """One vector of queries of one head.

    Attributes:
        head: their head.
        kv_head: the head of the keys and values that it reads.
        tile: their tile of tokens.
        lane: lane of the first of them in the tile.
        first: number of the first of them among the tokens of all sequences.
        work: rows of one vector: scaled queries from row 0 on, then scores, then sums of values.
        scores: first row of the scores.
        sums: first row of the sums.
    """

    head: Expr
    kv_head: Expr
    tile: Expr
    lane: Expr
    first: Expr
    work: Any
    scores: int
    sums: int

    def lanes(self, given: AttentionBuffers) -> Expr:
        return TB.Ramp(self.lane, 1, given.tile.vector)

    def multiply_add(self, given: AttentionBuffers, total: Expr, row: Expr, factor: Expr) -> Expr:
        """total + row ``row`` of the workspace times ``factor``, numbers or words of two."""
        value = self.work[row, given.vector]
        if not given.spec.pairs:
            return total + factor * value
        width = given.tile.vector
        return pair_dot(total, TB.reinterpret(lanes_of("int32", width), value), factor, width, given.tile)

    def store_words(self, given: AttentionBuffers, words: Expr, row: Expr) -> None:
        """Keep words as the bits of a row of the workspace."""
        store(self.work, TB.reinterpret(lanes_of("float32", given.tile.vector), words), row, given.vector)


@dataclass(frozen=True)
class KeyStep:
    """One step over some keys of one sequence; keys and queries are counted from the first sequence on.

    Attributes:
        sequence: number of the sequence.
        origin: its first query.
        low: its first key that some lane sees.
        high: the key after the last one that some lane sees.
        opened: every lane sees the keys from this one on, up to ``clear``.
        clear: every lane sees the keys from ``opened`` to this one.
        begin: first key of the step.
        end: the key after the last one of the step.
        initial: it is the first step.
        final: it is the last step.
        alone: no lane holds a result of an earlier sequence yet.
    """

    sequence: Expr
    origin: Expr
    low: Expr
    high: Expr
    opened: Expr
    clear: Expr
    begin: Expr
    end: Expr
    initial: Expr
    final: Expr
    alone: Expr


def accumulators(given: AttentionBuffers, rows: int) -> list[Any]:
    """``rows`` zeros, a register each."""
    registers = [variable(given.tile.vector) for _ in range(rows)]
    for register in registers:
        store(register, given.splat(TB.float32(0)), given.vector)
    return registers
