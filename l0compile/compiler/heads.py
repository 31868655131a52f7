"""What the heads of a model's attention read, for ``explain()``."""

from typing import Any

import torch
from torch import nn

from l0compile.attention.assignment.assign import AssignedPatterns, assigned_patterns
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, region_name, shape
from l0compile.ir.program import Program
from l0compile.ir.records import HeadRecord
from l0compile.rewrite.formats.lists_of_attention import constant_program, listed_shares

_LISTED = torch.ops.l0compile.block_attention.default


def heads_of(model: Any, program: Program) -> tuple[HeadRecord, ...]:
    """Return a record of each head that has a pattern, in the order of the model's modules.

    Args:
        model: what was compiled.
        program: what became of it. An attention whose heads were cut is left out; one that walks no lists reads every
            key.
    """
    assigned = assigned_patterns(model) if isinstance(model, nn.Module) else {}
    if not assigned:
        return ()
    editor, shares = Editor(program), dict[str, list[float]]()
    for node in program.graph.nodes:
        lists = constant_program(editor, node) if is_op(node, _LISTED) else None
        if lists is not None:
            given = arguments(node)
            shares[region_name(node)] = listed_shares(lists, given["heads"], int(shape(given["k"])[1]))
    return tuple(
        record for name, patterns in assigned.items() for record in _records(name, patterns, shares.get(name))
    )


def _records(name: str, patterns: AssignedPatterns, shares: list[float] | None) -> list[HeadRecord]:
    count = len(patterns.heads)
    shares = [1.0] * count if shares is None else shares
    if len(shares) != count:
        return []
    losses = patterns.losses or (None,) * count
    each = zip(patterns.heads, shares, losses, strict=True)
    return [
        HeadRecord(name, number, str(pattern), share, loss)
        for number, (pattern, share, loss) in enumerate(each)
    ]
