"""What the microkernels of attention work on: the buffers, one block of queries, one step of keys."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.lanes import Expr, splat, store, variable
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class AttentionBuffers:
    """What the kernel is given: its buffers, and the number of sequences, of queries and of keys in each."""

    spec: AttentionSpec
    tile: TokenTile
    q: Any
    k: Any
    v: Any
    mask: Any
    bias: Any
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
    """One vector of queries of one head, at ``lane`` of ``tile``; ``first`` is its first token of all sequences.

    work: rows of one vector: scaled queries from row 0, scores from row ``scores``, sums of values from row ``sums``.
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


@dataclass(frozen=True)
class KeyStep:
    """One step over keys [begin, end) of one sequence; keys count from the first sequence.

    origin: the sequence's first query. [low, high): its keys that some lane sees; every lane sees those before
    ``clear``. alone: whether no lane holds a result of an earlier sequence yet.
    """

    sequence: Expr
    origin: Expr
    low: Expr
    high: Expr
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
