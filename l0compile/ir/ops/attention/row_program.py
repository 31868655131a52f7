"""Which keys the queries of an attention see, as lists that a kernel walks.

Sparse attention comes down to one program: each block of queries (a row) has a list of key blocks that it sees whole, a
list of key blocks that it sees by a pattern, and a list of single keys (columns). Static patterns are constants,
selected blocks are tensors of the model; the program is the same. A block that is in no list is never read.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from l0compile.errors import InputError

Operands = tuple[Tensor | None, ...]


@dataclass(frozen=True, eq=False)
class RowLists:
    """A list of numbers for each (batch, head, row).

    Attributes:
        counts: [b, h, R] int32, how many numbers a row has; b and h are 1 where all sequences or heads share them.
        entries: [b, h, R, C] int32, the numbers; what stands behind the count is not read.
    """

    counts: Tensor
    entries: Tensor

    def listed(self) -> Tensor:
        """[b, h, R, C] bool: which entries are read."""
        places = torch.arange(self.entries.shape[-1], device=self.entries.device)
        return places < self.counts.unsqueeze(-1)

    def marks(self, size: int) -> Tensor:
        """[b, h, R, size] int64: how often a row lists each of the numbers 0 .. size - 1.

        Raises:
            InputError: a row lists a number past the end.
        """
        read = self.listed()
        entries = self.entries.long().masked_fill(~read, 0)
        if bool((read & ((entries < 0) | (entries >= size))).any()):
            raise InputError(
                f"block_attention: expected numbers from 0 to {size - 1} in the lists, got "
                f"{int(entries.min())} to {int(entries.max())}"
            )
        counted = torch.zeros(*entries.shape[:-1], size, dtype=torch.int64, device=entries.device)
        return counted.scatter_add_(-1, entries, read.long())


@dataclass(frozen=True, eq=False)
class RowProgram:
    """The keys that each block of queries sees. A key must not be listed twice for a row.

    Attributes:
        q_block: queries of a row.
        k_block: keys of a block.
        full: key blocks that all queries of the row see whole.
        partial: key blocks that are seen by a pattern.
        pattern_numbers: [b, h, R, C] int32, the pattern of each entry of ``partial``.
        patterns: [P, q_block, k_block] bool, True = this query sees this key.
        columns: single keys that all queries of the row see.
    """

    q_block: int
    k_block: int
    full: RowLists | None = None
    partial: RowLists | None = None
    pattern_numbers: Tensor | None = None
    patterns: Tensor | None = None
    columns: RowLists | None = None

    def __post_init__(self) -> None:
        if self.q_block < 1 or self.k_block < 1:
            raise InputError(
                f"row program: expected blocks of 1 or more, got {self.q_block} and {self.k_block}"
            )
        parts = (self.partial, self.pattern_numbers, self.patterns)
        if any(part is None for part in parts) != all(part is None for part in parts):
            raise InputError(
                "row program: expected partial blocks together with their patterns, got only some"
            )
        size = (self.q_block, self.k_block)
        if self.patterns is not None and (
            tuple(self.patterns.shape[1:]) != size or self.patterns.dtype != torch.bool
        ):
            raise InputError(
                f"row program: expected bool patterns of {size}, got {self.patterns.dtype} of "
                f"{tuple(self.patterns.shape)}"
            )

    def operands(self) -> Operands:
        """The eight tensors that ``l0compile::block_attention`` takes, in its order."""
        lists = [(None, None) if part is None else (part.counts, part.entries) for part in (
            self.full, self.partial, self.columns,
        )]  # fmt: skip
        return (*lists[0], *lists[1], self.pattern_numbers, self.patterns, *lists[2])

    def to_mask(self, queries: int, keys: int) -> Tensor:
        """[b, h, queries, keys] bool: the dense mask of this program.

        Raises:
            InputError: a list has a number past the end, or a row lists a key twice.
        """
        rows, blocks = -(-queries // self.q_block), -(-keys // self.k_block)
        for lists in (self.full, self.partial, self.columns):
            if lists is not None and lists.counts.shape[2] != rows:
                raise InputError(
                    f"row program: expected {rows} rows of {self.q_block} for {queries} queries, got "
                    f"{lists.counts.shape[2]}"
                )
        seen = torch.zeros(1, 1, rows * self.q_block, keys, dtype=torch.bool)
        twice = torch.zeros(1, dtype=torch.bool)
        if self.full is not None:
            marks = self.full.marks(blocks)
            twice = (marks > 1).any()
            seen = _by_query((marks > 0).repeat_interleave(self.k_block, -1)[..., :keys], self.q_block)
        if self.partial is not None and self.patterns is not None and self.pattern_numbers is not None:
            shown = _patterned(self.partial, self.pattern_numbers, self.patterns, blocks)[..., :keys]
            twice = twice | (shown > 1).any() | (seen & (shown > 0)).any()
            seen = seen | (shown > 0)
        if self.columns is not None:
            marks = self.columns.marks(keys)
            columns = _by_query(marks > 0, self.q_block)
            twice = twice | (marks > 1).any() | (seen & columns).any()
            seen = seen | columns
        if bool(twice.any()):
            raise InputError("row program: expected each key once for a row, got a key that it lists twice")
        return seen[:, :, :queries]

    @classmethod
    def from_mask(cls, mask: Tensor, q_block: int, k_block: int) -> "RowProgram":
        """The program of a dense mask [b, h, queries, keys], bool: blocks without a live key are in no list.

        Equal patterns are kept once. Past the last query and the last key nothing is live.
        """
        queries, keys = mask.shape[2:]
        padded = torch.nn.functional.pad(mask, (0, -keys % k_block, 0, -queries % q_block))
        blocks = padded.unflatten(-1, (-1, k_block)).unflatten(-3, (-1, q_block)).transpose(-2, -3)
        some = blocks.flatten(-2).any(-1)
        live = blocks.flatten(-2).sum(-1)
        inside = _lengths(queries, q_block).unsqueeze(-1) * _lengths(keys, k_block)
        every = some & (live == inside)
        partial = some & ~every
        full_lists, partial_lists = _lists(every), _lists(partial)
        if not bool(partial.any()):
            return cls(q_block, k_block, full_lists)
        patterns, numbers = torch.unique(blocks[partial].flatten(1), dim=0, return_inverse=True)
        placed = torch.zeros(partial.shape, dtype=torch.int64).masked_scatter_(partial, numbers)
        chosen = placed.gather(-1, partial_lists.entries.long()).to(torch.int32)
        return cls(
            q_block, k_block, full_lists, partial_lists, chosen, patterns.unflatten(1, (q_block, k_block))
        )

    def kept(self, queries: int, keys: int) -> float:
        """Share of the scores of all queries with all keys that the program computes, patterns counted as blocks."""
        total = 0.0
        for lists, width in ((self.full, self.k_block), (self.partial, self.k_block), (self.columns, 1)):
            if lists is not None:
                total += float(lists.counts.double().mean()) * width
        return min(1.0, total / keys)


def _by_query(marks: Tensor, q_block: int) -> Tensor:
    return marks.repeat_interleave(q_block, -2)


def _lengths(size: int, block: int) -> Tensor:
    """How much of ``size`` lies in each block of it."""
    return (size - torch.arange(0, size, block)).clamp(max=block)


def _patterned(partial: RowLists, numbers: Tensor, patterns: Tensor, blocks: int) -> Tensor:
    """[b, h, R * q_block, blocks * k_block] integers: how often the partial blocks show each key."""
    often = int(partial.marks(blocks).max())
    b, h = (max(sizes) for sizes in zip(numbers.shape[:2], partial.entries.shape[:2], strict=True))
    rows, width = partial.entries.shape[2:]
    read = partial.listed()
    entries = partial.entries.long().masked_fill(~read, blocks).expand(b, h, rows, width)
    if often <= 1:  # each block has one pattern: look it up
        table = torch.zeros(b, h, rows, blocks + 1, dtype=torch.int64)
        table.scatter_(-1, entries, numbers.long().expand(b, h, -1, -1) + 1)
        shown = torch.cat([torch.zeros_like(patterns[:1]), patterns]).to(torch.uint8)[table[..., :blocks]]
    else:
        chosen = patterns[numbers.long().masked_fill(~read, 0)].long().expand(b, h, -1, -1, -1, -1)
        shown = torch.zeros(b, h, rows, blocks + 1, prod(patterns.shape[1:]), dtype=torch.int64)
        shown.scatter_add_(
            -2, entries.unsqueeze(-1).expand(-1, -1, -1, -1, shown.shape[-1]), chosen.flatten(-2)
        )
        shown = shown[..., :blocks, :].unflatten(-1, patterns.shape[1:])
    return shown.transpose(-2, -3).flatten(-2).flatten(-3, -2)


def _lists(marked: Tensor) -> RowLists:
    """The numbers of the True places of each row [b, h, R, N], in order; at least one place wide."""
    counts = marked.sum(-1)
    width = max(1, int(counts.max()) if counts.numel() else 1)
    order = torch.argsort((~marked).to(torch.int8), dim=-1, stable=True)[..., :width]
    return RowLists(counts.to(torch.int32), order.to(torch.int32))
