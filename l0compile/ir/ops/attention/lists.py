"""Lists of numbers from marks, without a sort and with sizes that are known when a model is exported."""

import torch
from torch import Tensor

from l0compile.ir.ops.attention.row_program import RowLists


def marked(marks: Tensor, width: int) -> RowLists:
    """The places that are marked, in order.

    Args:
        marks: [b, h, R, N] bool.
        width: How many places a row may list; those past it are left out.
    """
    places = torch.arange(marks.shape[-1], device=marks.device, dtype=torch.int32)
    return packed(places.expand(marks.shape), marks, width)


def packed(numbers: Tensor, kept: Tensor, width: int) -> RowLists:
    """The numbers that are kept, in their order.

    Args:
        numbers: [b, h, R, N] int32.
        kept: The same shape, bool.
        width: How many numbers a row may list; those past it are left out.
    """
    place = kept.cumsum(-1, dtype=torch.int32)
    counts = place[..., -1].clamp(max=width)
    # What is not kept, or is past the width, is written to one place more, which is cut off.
    place = torch.where(kept & (place <= width), place - 1, width).long()
    entries = numbers.new_zeros(*numbers.shape[:-1], width + 1).scatter(-1, place, numbers)
    return RowLists(counts, entries[..., :width].contiguous())
