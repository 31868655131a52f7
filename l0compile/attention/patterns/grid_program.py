"""A rule about positions as a row program, without the dense mask: each kind of block is looked at once."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.ir.ops.attention.lists import marked, packed
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram

Live = Callable[[BlockGrid, Tensor, Tensor, Tensor], Tensor]

AT_ONCE = 1 << 22
"""Scores that are looked at together: a few MB."""

COLUMN_SHARE = 4
"""Keys that all queries of a row see are single columns up to this part of a block."""


def grid_program(grid: BlockGrid, tables: int, facts: tuple[Tensor, ...], live: Live) -> RowProgram:
    """The row program of ``live``, whose blocks look the same where all ``facts`` are equal.

    Args:
        grid: The blocks.
        tables: How many heads have lists of their own.
        facts: Each broadcastable to [tables, R, N].
        live: See ``Pattern.live``.
    """
    kinds, number = _kinds(grid, tables, facts)
    places = _places(kinds, number, grid)
    pictures = torch.cat(list(_pictures(grid, places, live)))
    beyond = grid.key_places(places[-1]) >= grid.keys
    full = (pictures | beyond).flatten(1).all(1)
    same = (pictures == pictures[:, :1]).flatten(1).all(1)
    few = same & ~full & (pictures[:, 0].sum(1) * COLUMN_SHARE <= grid.k_block)
    partial = pictures.flatten(1).any(1) & ~full & ~few
    return RowProgram(
        grid.q_block, grid.k_block, _blocks(full[kinds]), *_partial(kinds, pictures, partial),
        columns=_columns(grid, kinds, pictures[:, 0] & few[:, None]),
    )  # fmt: skip


def _kinds(grid: BlockGrid, tables: int, facts: tuple[Tensor, ...]) -> tuple[Tensor, int]:
    """([1, tables, R, N] the kind of each block, how many kinds there are)."""
    shape = (tables, grid.rows, grid.columns)
    # The last row and the last block may be cut, and then look different from others.
    last_row = (torch.arange(grid.rows) == grid.queries // grid.q_block).unsqueeze(1)
    last_column = torch.arange(grid.columns) == grid.keys // grid.k_block
    kinds, number = torch.zeros(shape, dtype=torch.int64), 1
    for fact in (last_row, last_column, *facts):
        values, place = torch.unique(fact, return_inverse=True)
        mixed = kinds * values.numel() + place
        values, kinds = torch.unique(mixed.expand(shape), return_inverse=True)
        number = values.numel()
    return kinds.unsqueeze(0), number


def _places(kinds: Tensor, number: int, grid: BlockGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Of each kind one block: its head, row and column, each [number]."""
    flat = kinds.flatten()
    one = torch.zeros(number, dtype=torch.int64).scatter_reduce(
        0, flat, torch.arange(flat.numel()), "amax", include_self=True
    )
    head, block = one // (grid.rows * grid.columns), one % (grid.rows * grid.columns)
    return head, block // grid.columns, block % grid.columns


def _pictures(grid: BlockGrid, places: tuple[Tensor, ...], live: Live) -> Iterator[Tensor]:
    """[n, q_block, k_block]: what the blocks at ``places`` look like, some of them at a time."""
    size = (grid.q_block, grid.k_block)
    some = max(1, AT_ONCE // (size[0] * size[1]))
    for head, row, column in zip(*(t.split(some) for t in places), strict=True):
        q, k = grid.query_places(row), grid.key_places(column)
        # A rule may look positions up, so it is asked about keys that are there.
        seen = live(grid, head.view(-1, 1, 1), q, k.clamp(max=grid.keys - 1))
        yield (seen & (k < grid.keys)).expand(-1, *size)


def _blocks(marks: Tensor) -> RowLists | None:
    width = int(marks.sum(-1).max())
    return marked(marks, width) if width else None


def _partial(
    kinds: Tensor, pictures: Tensor, partial: Tensor
) -> tuple[RowLists | None, Tensor | None, Tensor | None]:
    """(blocks with a pattern, the number of each one's pattern, the patterns without repetition)."""
    marks = partial[kinds]
    lists = _blocks(marks)
    if lists is None:
        return None, None, None
    patterns, numbers = _distinct(pictures[partial])
    of_kind = torch.zeros(partial.numel(), dtype=torch.int32)
    of_kind[partial] = numbers.to(torch.int32)
    return lists, packed(of_kind[kinds], marks, lists.entries.shape[-1]).entries, patterns


def _distinct(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """(pictures without repetition, the place of each in them)."""
    flat = pictures.flatten(1)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (flat.shape[1],), generator=generator)
    sums = torch.cat([(part * weights).sum(1) for part in flat.split(AT_ONCE // flat.shape[1] + 1)])
    values, place = torch.unique(sums, return_inverse=True)
    one = torch.zeros(values.numel(), dtype=torch.int64).scatter_reduce(
        0, place, torch.arange(flat.shape[0]), "amax", include_self=True
    )
    if torch.equal(flat[one[place]], flat):
        return pictures[one], place
    values, place = torch.unique(flat, dim=0, return_inverse=True)  # two pictures had the same sum
    return values.view(-1, *pictures.shape[1:]), place


def _columns(grid: BlockGrid, kinds: Tensor, keys: Tensor) -> RowLists | None:
    """Single keys of each row. ``keys`` [number, k_block]: those of each kind of block."""
    if not bool(keys.any()):
        return None
    marks = keys[kinds].flatten(-2)
    return marked(marks, int(marks.sum(-1).max()))
