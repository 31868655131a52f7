"""Masks that follow from positions and constants: evaluated while compiling."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from l0compile.frontend.flex.block_lists import BlockCounter, BlockSummary
from l0compile.frontend.flex.conditions import PlaceCondition
from l0compile.frontend.flex.mod import on_grid
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram

_AT_ONCE = 1 << 24
"""Positions that are evaluated at a time; a mask for 4,096 tokens has as many."""


@dataclass(frozen=True, eq=False)
class FixedMask:
    """A mask whose positions are all known.

    Attributes:
        program: its blocks, with each pattern once.
        is_full: whether every key is live for every query.
        is_causal: whether query i sees exactly the keys up to i.
        summary: by the blocks of the BlockMask.
    """

    program: RowProgram
    is_full: bool
    is_causal: bool
    summary: BlockSummary


@dataclass(frozen=True)
class MaskSize:
    """Sizes of a mask, all of them numbers, and those of the blocks that it is cut into."""

    batches: int
    heads: int
    queries: int
    keys: int
    q_block: int
    k_block: int


def evaluate(
    own: Sequence[PlaceCondition],
    further: Sequence[PlaceCondition],
    size: MaskSize,
    listed: tuple[int, int],
    at_once: int = _AT_ONCE,
) -> FixedMask:
    """Evaluate conditions that are known.

    Args:
        own: those of a mask_mod.
        further: others that must hold too.
        size: of the mask, and of the blocks of the result.
        listed: sizes of the blocks whose summary is wanted, by ``own`` alone.
        at_once: positions that are evaluated at a time.
    """
    counter = BlockCounter(size.queries, size.keys, *listed)
    parts, full, causal = list[RowProgram](), True, True
    for start, first, mask in _pieces(own, further, size, at_once):
        counter.add(first)
        full = full and bool(mask.all())
        rows = torch.arange(start, start + mask.shape[2]).unsqueeze(1)
        causal = causal and bool((mask == (rows >= torch.arange(size.keys))).all())
        parts.append(RowProgram.from_mask(mask, size.q_block, size.k_block))
    return FixedMask(_joined(parts), full, causal, counter.summary())


def _pieces(
    own: Sequence[PlaceCondition], further: Sequence[PlaceCondition], size: MaskSize, at_once: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(first query, mask by ``own``, mask by all) for some rows of blocks at a time."""
    names = frozenset[str]().union(*(condition.mod.reads() for condition in (*own, *further)))
    batches, heads = (
        torch.arange(count if name in names else 1)
        for count, name in ((size.batches, "batch"), (size.heads, "head"))
    )
    queries, keys = torch.arange(size.queries), torch.arange(size.keys)
    rows = max(1, at_once // (len(batches) * len(heads) * size.keys * size.q_block)) * size.q_block
    for start in range(0, size.queries, rows):
        place = (batches, heads, queries[start : start + rows], keys)
        first = _all_hold(own, place)
        yield start, first, first & _all_hold(further, place) if further else first


def _all_hold(conditions: Sequence[PlaceCondition], place: Sequence[Tensor]) -> Tensor:
    found = torch.ones([len(numbers) for numbers in place], dtype=torch.bool)
    for condition in conditions:
        assert condition.values is not None
        found = found & on_grid(condition.mod, place, condition.values).bool()
    return found


def _joined(parts: Sequence[RowProgram]) -> RowProgram:
    """The program of successive rows of blocks, again with each pattern once."""
    if len(parts) == 1:
        return parts[0]
    size = (parts[0].q_block, parts[0].k_block)
    full = _below([part.full for part in parts if part.full is not None])
    tables = [part.patterns for part in parts if part.patterns is not None]
    if not tables:
        return RowProgram(*size, full)
    lists, numbers, start = list[RowLists](), list[Tensor](), 0
    for part in parts:
        if part.partial is None or part.pattern_numbers is None or part.patterns is None:
            assert part.full is not None
            nothing = torch.zeros_like(part.full.counts)
            lists.append(RowLists(nothing, nothing.unsqueeze(-1)))
            numbers.append(lists[-1].entries)
        else:
            lists.append(part.partial)
            numbers.append(part.pattern_numbers + start)
            start += len(part.patterns)
    patterns, places = torch.unique(torch.cat(tables).flatten(1), dim=0, return_inverse=True)
    chosen = places[_wide(numbers).long()].to(torch.int32)
    return RowProgram(*size, full, _below(lists), chosen, patterns.unflatten(1, size))


def _below(parts: Sequence[RowLists]) -> RowLists:
    return RowLists(torch.cat([part.counts for part in parts], 2), _wide([part.entries for part in parts]))


def _wide(parts: Sequence[Tensor]) -> Tensor:
    """Parts [b, h, rows, places] one below the other, filled up to the widest."""
    width = max(part.shape[-1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[-1])) for part in parts], 2)
