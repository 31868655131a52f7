"""What the lists of a BlockMask and its mask_mod say of the same blocks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.errors import CaptureError, InputError
from l0compile.ir.ops.attention.row_program import RowLists


@dataclass(frozen=True, eq=False)
class BlockSummary:
    """A mask seen block by block, [b, h, R, N] each.

    Attributes:
        some: whether a position of the block is live.
        every: whether all are, as far as there are queries and keys.
    """

    some: Tensor
    every: Tensor


class BlockCounter:
    """Makes the summary of a mask that is given some queries at a time."""

    def __init__(self, queries: int, keys: int, q_block: int, k_block: int) -> None:
        self._queries, self._keys = queries, keys
        # The block of a call without a mask has 2^30 queries and keys.
        self._q_block, self._k_block = min(q_block, queries), min(k_block, keys)
        self._some, self._every = list[Tensor](), list[Tensor]()

    def add(self, mask: Tensor) -> None:
        """Add the next queries: [b, h, queries, keys]."""
        parts = mask.split(self._k_block, -1)
        self._some.append(torch.stack([part.any(-1) for part in parts], -1))
        self._every.append(torch.stack([part.all(-1) for part in parts], -1))

    def summary(self) -> BlockSummary:
        """The summary of all queries."""
        rows = (torch.cat(parts, 2).split(self._q_block, 2) for parts in (self._some, self._every))
        some, every = rows
        return BlockSummary(
            torch.stack([part.any(2) for part in some], 2), torch.stack([part.all(2) for part in every], 2)
        )


def check_lists(
    partial: RowLists, full: RowLists | None, summary: BlockSummary, whole_mask: bool, where: str
) -> None:
    """Refuse a BlockMask whose lists and mask_mod tell of different masks.

    Compiled FlexAttention reads only the blocks that are listed, and applies mask_mod to those that are not full; eager
    FlexAttention applies mask_mod to all positions and reads no list.

    Args:
        partial: the blocks to which mask_mod is applied.
        full: the blocks that are seen whole.
        summary: what mask_mod says of each block; what of it depends on inputs is taken as true.
        whole_mask: nothing of it depends on inputs.
        where: the module, for the error.

    Raises:
        CaptureError: The two differ.
    """
    blocks = summary.some.shape[-1]
    try:
        part = partial.marks(blocks)
        whole = torch.zeros_like(part) if full is None else full.marks(blocks)
    except InputError as error:
        raise CaptureError(f"capture: {where}: the lists of flex_attention's BlockMask: {error}") from error
    if part.shape[2] != summary.some.shape[2]:
        raise CaptureError(
            f"capture: {where}: expected a BlockMask with {summary.some.shape[2]} rows of blocks, got {part.shape[2]}"
        )
    differences = [
        ((whole > 0) & ~summary.every, "is read whole", "has dead positions"),
        ((part + whole > 1) & summary.some, "is read twice", "is one block"),
        ((part + whole == 0) & summary.some, "is not read", "has live positions"),
    ]
    for found, lists, mod in differences[: 3 if whole_mask else 1]:
        if bool(found.any()):
            batch, head, row, column = (int(number) for number in found.nonzero()[0])
            raise CaptureError(
                f"capture: {where}: expected a BlockMask whose block lists and mask_mod agree, got block ({row}, "
                f"{column}) of batch {batch}, head {head}: by the lists (compiled FlexAttention) it {lists}, by "
                f"mask_mod (eager FlexAttention) it {mod}; {int(found.sum())} blocks differ so. What to do: give "
                "BlockMask.from_kv_blocks a mask_mod that is true in the listed blocks only, or make the BlockMask by "
                "create_block_mask"
            )
