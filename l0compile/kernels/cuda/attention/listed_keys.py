"""The keys that the lists of a row have: its full blocks, then its partial ones, then single columns.

All of them are places of one long list, which is walked in steps of as many keys as a schedule says, whatever the size
of a block: a step may end one block and begin the next. The numbers of its keys are found some steps ahead and lie in
shared memory, and keys and values are loaded row by row from wherever they are.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.attention.key_source import Marks
from l0compile.kernels.cuda.attention.row_lists import ListOperand, RowProgramOperands
from l0compile.kernels.cuda.attention.schedules import RING
from l0compile.kernels.cuda.attention.spec import CudaBlockAttentionSpec
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.ptx import kept, registers
from l0compile.kernels.tir import TB

_NOTHING = -1  # no key, or no pattern


@dataclass(frozen=True)
class ListedKeys:
    """The keys of one row, in the order of its lists.

    Attributes:
        row: number of the row.
        inside: place of the tile's first query in it.
        full: places of keys of full blocks; those of partial ones follow.
        blocks: places of keys of all blocks; columns follow.
        places: all places.
        clear_places: places before which every key is listed, and seen by all queries.
        steps: steps that all places fill.
    """

    given: CudaOperands
    spec: CudaBlockAttentionSpec
    program: RowProgramOperands
    tile: QueryTile
    row: Expr
    inside: Expr
    full: Expr
    blocks: Expr
    places: Expr
    clear_places: Expr
    steps: Expr

    @classmethod
    def of(
        cls, given: CudaOperands, spec: CudaBlockAttentionSpec, program: RowProgramOperands, tile: QueryTile,
        row: Expr, inside: Expr,
    ) -> "ListedKeys":  # fmt: skip
        """Those that the row's counts tell."""
        full, partial, columns = (
            TB.int32(0) if lists is None else lists.count(tile, row)
            for lists in (program.full, program.partial, program.columns)
        )
        full = kept(full * spec.k_block)
        blocks = kept(full + partial * spec.k_block)
        places, size = kept(blocks + columns), given.schedule.keys
        # The last block of a sequence may have fewer keys than others; nobody knows where it is listed.
        whole = TB.truncmod(TB.cast(given.keys, "int32"), spec.k_block) == 0
        clear = kept(TB.Select(whole, full, TB.int32(0)))
        steps = kept(TB.truncdiv(places + (size - 1), size))
        return cls(given, spec, program, tile, row, inside, full, blocks, places, clear, steps)

    @property
    def looks_up(self) -> bool:
        return True

    def prepare(self, step: Expr) -> None:
        """The first threads look up a key each, and write its number, or -1, and its pattern's, or -1."""
        size, threads = self.given.schedule.keys, self.given.schedule.threads
        for turn in range(-(-size // threads)):
            slot = self.tile.thread + turn * threads
            with TB.If(slot < size), TB.Then():
                self._look_up(step, slot)

    def row_of(self, step: Expr, slot: Expr) -> tuple[Expr, Expr]:
        number = kept(self._word(step, slot, 0))
        return number, number >= 0

    def key(self, step: Expr, slot: Expr) -> Expr:
        return TB.max(self._word(step, slot, 0), 0)

    def clear(self, step: Expr) -> Expr:
        return (step + 1) * self.given.schedule.keys <= self.clear_places

    def of_row(self, row: Expr) -> Marks:
        query = TB.min(self.inside + row, self.spec.q_block - 1)
        return (kept(query * self.spec.k_block),)

    def of_column(self, step: Expr, slot: Expr) -> Marks:
        listed = kept(TB.cast(self._word(step, slot, 0) >= 0, "int32"))
        if self.program.patterns is None:
            return (listed,)
        pattern = kept(self._word(step, slot, 1))
        place = TB.truncmod(step * self.given.schedule.keys + slot, self.spec.k_block)
        size = self.spec.q_block * self.spec.k_block
        first = TB.cast(TB.max(pattern, 0), "int64") * size + TB.cast(place, "int64")
        return listed, kept(TB.cast(pattern < 0, "int32")), kept(first, "int64")

    def seen(self, row: Marks, column: Marks) -> Expr:
        if self.program.patterns is None:
            return column[0] != 0
        listed, whole, first = column
        at = (
            0,
            0,
            first + TB.cast(row[0], "int64"),
        )  # of each row and column, its share of the sum is computed once
        mark = kept(TB.cast(self.program.patterns[at], "int32"))
        return TB.bitwise_and(TB.bitwise_or(whole, mark), listed) != 0

    def _look_up(self, step: Expr, slot: Expr) -> None:
        place = kept(step * self.given.schedule.keys + slot)
        words = registers(2)
        key, pattern = registers(1, "int32"), registers(1, "int32")
        store(key, TB.int32(_NOTHING), 0)
        store(pattern, TB.int32(_NOTHING), 0)
        keys = TB.cast(self.given.keys, "int32")
        if self.program.full is not None:
            with TB.If(place < self.full), TB.Then():
                self._of_block(self.program.full, place, key)
        if self.program.partial is not None:
            assert self.program.numbers is not None
            with TB.If(TB.And(place >= self.full, place < self.blocks)), TB.Then():
                own = kept(place - self.full)
                self._of_block(self.program.partial, own, key)
                kinds = TB.cast(self.program.patterns.shape[0], "int32")
                block = TB.truncdiv(own, self.spec.k_block)
                store(pattern, self.program.numbers.entry(self.tile, self.row, block, kinds), 0)
        if self.program.columns is not None:
            with TB.If(TB.And(place >= self.blocks, place < self.places)), TB.Then():
                store(key, self.program.columns.entry(self.tile, self.row, place - self.blocks, keys), 0)
        store(words, TB.reinterpret("uint32", TB.Select(key[0] < keys, key[0], TB.int32(_NOTHING))), 0)
        store(words, TB.reinterpret("uint32", pattern[0]), 1)
        ptx.store_shared(self._place(step, slot), ptx.at(words), 2)

    def _of_block(self, blocks: ListOperand, place: Expr, key: Any) -> None:
        """The key in a place of a list of blocks; it may lie past the last one."""
        size = self.spec.k_block
        count = TB.cast(TB.truncdiv(self.given.keys + (size - 1), size), "int32")
        block = blocks.entry(self.tile, self.row, TB.truncdiv(place, size), count)
        store(key, block * size + TB.truncmod(place, size), 0)

    def _word(self, step: Expr, slot: Expr, number: int) -> Expr:
        word = registers(1)
        ptx.load_shared(ptx.at(word), self._place(step, slot) + 4 * number, 1)
        return TB.reinterpret("int32", word[0])  # a cast would be taken for a number of 0 or more

    def _place(self, step: Expr, slot: Expr) -> Expr:
        start = self.tile.shared + self.given.plan.numbers
        return start + (TB.truncmod(step, RING) * self.given.schedule.keys + slot) * 8
