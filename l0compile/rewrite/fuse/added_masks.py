"""Masks that are added to scores: 0 where a key is seen, and one number that hides it elsewhere."""

from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.band import Band, band_of_mask
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op
from l0compile.ir.operator_facts import facts_of

aten = torch.ops.aten

DEAD = (float("-inf"), torch.finfo(torch.float32).min)
"""Numbers that hide a key from a query that sees another."""


def hidden_keys(editor: Editor, mask: fx.Node) -> tuple[fx.Node, bool, float] | None:
    """(condition, whether it is true where a key is hidden, the number there) of a mask of 0 and that number."""
    if is_op(mask, aten.tril.default, aten.triu.default):
        filler = _number(editor, arguments(mask)["self"])
        return (mask, True, filler) if filler in DEAD else None
    if is_op(mask, aten.masked_fill.Scalar):
        other, condition, chosen = mask.args
    elif is_op(mask, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.self):
        condition, chosen, other = mask.args
    else:
        return None
    numbers = _number(editor, chosen), _number(editor, other)  # where the condition is true, and where not
    for hides in (False, True):
        seen, dead = numbers[::-1] if hides else numbers
        if seen == 0 and dead in DEAD and isinstance(condition, fx.Node):
            return condition, hides, float(dead)
    return None


def _number(editor: Editor, node: Any) -> float | None:
    """The number that every element of a tensor is."""
    if isinstance(node, (int, float)):
        return float(node)
    value, fills = editor.value(node), facts_of(node).fills
    if value is not None:
        return float(value.reshape(-1)[0]) if value.numel() == 1 else None
    filler = arguments(node)["fill_value"] if fills == "fill_value" else fills
    return float(filler) if isinstance(filler, (int, float)) else None


def constant_band(value: Tensor) -> tuple[Band | None, float]:
    """(the band of zeros, the number elsewhere) of a mask that is added to scores."""
    dead = float(value.min()) if value.numel() else 0.0
    if value.numel() and not value.any():
        return Band(), dead
    if dead not in DEAD or not bool(((value == 0) | (value == dead)).all()):
        return None, dead
    return band_of_mask(value == 0), dead
