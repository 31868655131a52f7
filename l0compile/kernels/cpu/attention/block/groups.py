"""From the lists of a row to groups of keys, a step at a time."""

from dataclasses import dataclass
from typing import Any

from l0compile.ir.ops.attention.packed_block import EDGE
from l0compile.kernels.cpu.attention.block.state import COLUMNS, WHOLE, BlockBuffers, KeyGroups, RowShare
from l0compile.kernels.cpu.dot import lanes_of
from l0compile.kernels.cpu.lanes import Expr, held, store, variable
from l0compile.kernels.tir import TB

_BYTES = 8  # of the numbers that tell whether a pattern shows anything


@dataclass(frozen=True)
class RowWalk:
    """How far a walk over the lists of a row has come.

    Attributes:
        entry: full blocks, then partial ones, then groups of columns.
        group: of the keys of a block.
        full: full blocks of the row.
        blocks: all its blocks.
        columns: its columns.
        end: one past the last entry.
    """

    entry: Any
    group: Any
    full: Expr
    blocks: Expr
    columns: Expr
    end: Expr


def row_walk(given: BlockBuffers, share: RowShare) -> RowWalk:
    """The walk at its start."""
    program, rows = given.program, given.base.rows
    full, partial, columns = (
        TB.int64(0) if lists is None else lists.count(*share.at)
        for lists in (program.full, program.partial, program.columns)
    )
    entry, group = variable(1, "int64"), variable(1, "int64")
    store(entry, TB.int64(0), 0)
    store(group, TB.int64(0), 0)
    blocks = held(full + partial)
    end = held(blocks + TB.truncdiv(columns + (rows - 1), rows))
    return RowWalk(entry, group, full, blocks, columns, end)


def next_groups(given: BlockBuffers, share: RowShare, walk: RowWalk, groups: KeyGroups, size: int) -> None:
    """Fill a step of at most ``size`` groups; none is left when there are no more."""
    store(groups.count, TB.int64(0), 0)
    with TB.While(TB.And(groups.count[0] < size, walk.entry[0] < walk.end)):
        if given.spec.blocks and given.program.columns is not None:
            with TB.If(walk.entry[0] < walk.blocks):
                with TB.Then():
                    _of_block(given, share, walk, groups)
                with TB.Else():
                    _of_columns(given, walk, groups)
        elif given.spec.blocks:
            _of_block(given, share, walk, groups)
        else:
            _of_columns(given, walk, groups)


def _of_columns(given: BlockBuffers, walk: RowWalk, groups: KeyGroups) -> None:
    rows = given.base.rows
    first = held((walk.entry[0] - walk.blocks) * rows)
    groups.push(first, TB.int64(0), TB.min(walk.columns - first, rows), TB.int64(COLUMNS), TB.int64(0))
    store(walk.entry, walk.entry[0] + 1, 0)


def _of_block(given: BlockBuffers, share: RowShare, walk: RowWalk, groups: KeyGroups) -> None:
    """One group of keys, which begins at a multiple of their number, so that it lies in one tile of tokens."""
    base, size, rows = given.base, given.spec.k_block, given.base.rows
    block, kind = _entry(given, share, walk)
    origin = held(share.sequence * base.keys)
    start = held(origin + block * size)
    stop = held(TB.min(start + size, origin + base.keys))
    first = held((TB.truncdiv(start, rows) + walk.group[0]) * rows)
    shift = held(first - start + EDGE)
    low, high = TB.max(start - first, 0), TB.min(stop - first, rows)
    seen = _seen(given, share, kind, shift)
    if seen is None:
        groups.push(first, low, high, kind, shift)
    else:
        with TB.If(TB.Or(kind == WHOLE, seen)), TB.Then():
            groups.push(first, low, high, kind, shift)
    more = held(TB.Select(first + rows < stop, TB.int64(1), TB.int64(0)))
    store(walk.group, (walk.group[0] + 1) * more, 0)
    store(walk.entry, walk.entry[0] + (1 - more), 0)


def _entry(given: BlockBuffers, share: RowShare, walk: RowWalk) -> tuple[Expr, Expr]:
    """(number of the block, its pattern or ``WHOLE``) of the walk's entry."""
    full, partial, numbers = given.program.full, given.program.partial, given.program.numbers
    blocks = TB.truncdiv(given.base.keys + (given.spec.k_block - 1), given.spec.k_block)
    block, kind = variable(1, "int64"), variable(1, "int64")

    def whole() -> None:
        assert full is not None
        store(block, full.entry(walk.entry[0], blocks, *share.at), 0)
        store(kind, TB.int64(WHOLE), 0)

    def patterned() -> None:
        assert partial is not None and numbers is not None
        place, patterns = walk.entry[0] - walk.full, TB.cast(given.program.patterns.shape[0], "int64")
        store(block, partial.entry(place, blocks, *share.at), 0)
        store(kind, numbers.entry(place, patterns, *share.at), 0)

    if full is not None and partial is not None:
        with TB.If(walk.entry[0] < walk.full):
            with TB.Then():
                whole()
            with TB.Else():
                patterned()
    elif full is not None:
        whole()
    else:
        patterned()
    return block[0], kind[0]


def _seen(given: BlockBuffers, share: RowShare, kind: Expr, shift: Expr) -> Expr | None:
    """Whether the pattern shows any key of a group to any lane; None where nothing tells."""
    width = given.base.tile.vector
    if given.program.patterns is None or width % _BYTES:
        return None
    parts = width // _BYTES
    found = variable(parts, "int64")
    lanes = TB.Ramp(0, 1, parts) if parts > 1 else 0
    marks: Any = None
    for r in range(given.base.rows):
        bytes_ = given.program.patterns[pattern_at(given, share, kind, shift + r)]
        word = TB.reinterpret(lanes_of("int64", parts), bytes_)
        marks = word if marks is None else TB.bitwise_or(marks, word)
    store(found, marks, lanes)
    total = found[0]
    for part in range(1, parts):
        total = TB.bitwise_or(total, found[part])
    return total != 0


def pattern_at(given: BlockBuffers, share: RowShare, kind: Expr, row: Expr) -> tuple[Expr, ...]:
    """Where the marks of the lanes lie for one key; a group that begins before its block stays inside of the edge."""
    return TB.max(kind, TB.int64(0)), row, TB.Ramp(share.offset + EDGE, 1, given.base.tile.vector)
