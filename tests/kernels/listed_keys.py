"""Row programs at random, for the kernels that read them."""

import torch

from l0compile.ir.ops.attention.row_program import RowLists, RowProgram
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
from l0compile.kernels.cuda.attention.spec import CudaBlockAttentionSpec

ListedSpec = BlockAttentionSpec | CudaBlockAttentionSpec


def lists_of(marked: torch.Tensor, wide: int) -> RowLists:
    """The True places of each row, in a random order, with room for ``wide`` more entries that nobody reads."""
    counts = marked.sum(-1).to(torch.int32)
    width = int(counts.max()) + wide
    order = (torch.rand(marked.shape) + marked * 2).argsort(-1, descending=True)
    padded = torch.nn.functional.pad(order, (0, wide), value=-7)[..., : max(1, width)]
    return RowLists(counts, padded.to(torch.int32).contiguous())


def drawn(of: ListedSpec, sizes: tuple[int, int, int], share: float, wide: int = 0) -> RowProgram:
    """A row program that fits: each block is in one list or in none, and columns are keys of blocks in none."""
    batch, queries, keys = sizes
    rows, blocks = -(-queries // of.q_block), -(-keys // of.k_block)
    # A block belongs to one kind for all sequences and heads, so that lists of other axes do not meet.
    kind = torch.randint(0, 3, (rows, blocks))

    def some(number: int, axes: ListAxes | None, size: int, each: int) -> RowLists | None:
        if axes is None:
            return None
        own = (kind == number).repeat_interleave(each, -1)[:, :size]
        picked = own & (torch.rand(*_extents(of, axes, batch), rows, size) < share)
        return lists_of(picked, wide)

    full, partial = some(0, of.full, blocks, 1), some(1, of.partial, blocks, 1)
    numbers = patterns = None
    if partial is not None and of.pattern_numbers:
        patterns = (
            torch.rand(5, of.q_block, of.k_block) < torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])[:, None, None]
        )
        shape = (*_extents(of, of.pattern_numbers, batch), *partial.entries.shape[2:])
        numbers = torch.randint(0, 5, shape).to(torch.int32)
    columns = some(2, of.columns, keys, of.k_block)
    return RowProgram(of.q_block, of.k_block, full, partial, numbers, patterns, columns)


def _extents(of: ListedSpec, axes: ListAxes, batch: int) -> tuple[int, int]:
    return (batch if axes.batch else 1), (of.attention.heads if axes.head else 1)
