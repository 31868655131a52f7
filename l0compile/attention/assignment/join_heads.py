"""One row program for heads that see different keys."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram


def join_heads(programs: Sequence[RowProgram]) -> RowProgram:
    """The program whose head ``i`` sees what ``programs[i]`` shows.

    Args:
        programs: one for each head, each the same for all its heads, with blocks of one size and as many rows.

    Raises:
        InputError: blocks or numbers of rows differ, or a program has several heads.
    """
    first = programs[0]
    if all(program is first for program in programs):
        return first
    sizes = {(program.q_block, program.k_block) for program in programs}
    if len(sizes) > 1:
        raise InputError(f"join_heads: expected blocks of one size, got {sorted(sizes)}")
    full = _joined([program.full for program in programs])
    partial = _joined([program.partial for program in programs])
    columns = _joined([program.columns for program in programs])
    if partial is None:
        return RowProgram(first.q_block, first.k_block, full, columns=columns)
    numbers, patterns = _joined_patterns(programs, partial)
    return RowProgram(first.q_block, first.k_block, full, partial, numbers, patterns, columns)


def _joined(lists: Sequence[RowLists | None]) -> RowLists | None:
    known = [each for each in lists if each is not None]
    if not known:
        return None
    shapes = {tuple(each.counts.shape) for each in known}
    if len(shapes) > 1 or next(iter(shapes))[1] != 1:
        raise InputError(f"join_heads: expected counts [b, 1, R] of one shape, got {sorted(shapes)}")
    width = max(each.entries.shape[-1] for each in known)
    nothing = RowLists(torch.zeros_like(known[0].counts), torch.zeros_like(known[0].entries))
    each = [one or nothing for one in lists]
    return RowLists(
        torch.cat([one.counts for one in each], 1), torch.cat([_wide(one.entries, width) for one in each], 1)
    )


def _wide(entries: Tensor, width: int) -> Tensor:
    return F.pad(entries, (0, width - entries.shape[-1]))


def _joined_patterns(programs: Sequence[RowProgram], partial: RowLists) -> tuple[Tensor, Tensor]:
    """(numbers [b, h, R, C], patterns): those of each program behind those before it, equal programs' once."""
    width = partial.entries.shape[-1]
    nothing = torch.zeros(partial.entries.shape[0], 1, partial.entries.shape[2], width, dtype=torch.int32)
    patterns, first, found = list[Tensor](), dict[int, int](), list[Tensor]()
    for program in programs:
        if program.patterns is None or program.pattern_numbers is None:
            found.append(nothing)
            continue
        if id(program) not in first:
            first[id(program)] = sum(map(len, patterns))
            patterns.append(program.patterns)
        found.append(_wide(program.pattern_numbers, width) + first[id(program)])
    return torch.cat(found, 1).to(torch.int32), torch.cat(patterns)
