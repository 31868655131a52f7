"""Find windows of positions, such as "no later key", in a mask that is given as a tensor."""

from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.bands import Band, BandReader, band_of_mask
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_float, is_op, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.ops.attention.multi_head import sees_some

aten = torch.ops.aten

_LOWEST = torch.finfo(torch.float32).min
_DEAD = (float("-inf"), _LOWEST)
_FARTHEST = 1 << 30  # kernels count positions in 32 bits


def without_window(
    editor: Editor, mask: Any, window: Band, before: fx.Node, reader: BandReader
) -> tuple[fx.Node | None, Band]:
    """Take what depends on the distance from query to key alone out of a mask.

    Rewrite: and(rest, band) -> rest, also nested and with nothing left, where band compares positions or their distance
        with a number, or is a constant of that form; likewise where(and(rest, band), 0, -infinity), and
        where(band, 0, lowest float32).
    Checks: positions count from 0 along the whole last axis and the one before it, so that they are those of keys and
        queries. The lowest float32 only hides a key from queries that see another, so each must see one in the band.

    Args:
        editor: of the graph of the mask.
        mask: the mask of an attention, or None.
        window: what the attention itself lets through.
        before: the node that new operators go before.
        reader: of the attention's masks.

    Returns:
        (rest of the mask or None, the window), which together are the mask and the window given.
    """
    mask = _without_copies(mask)
    if mask is None or tensor(mask) is None:
        return mask, window
    if is_float(mask):
        return _without_added(editor, mask, window, before, reader, alone=True)
    rest, found = _split(mask, reader)
    return (mask, window) if rest == [mask] else (_all_of(editor, rest, before), window & found)


def _without_added(
    editor: Editor, mask: fx.Node, window: Band, before: fx.Node, reader: BandReader, alone: bool
) -> tuple[fx.Node | None, Band]:
    """The same of a mask that is added to the scores; ``alone``: no other mask is."""
    mask = _without_copies(mask)
    if is_op(mask, aten.add.Tensor) and not mask.kwargs:
        return _without_summands(editor, mask, window, before, reader)
    constant = editor.value(mask)
    hidden = _hidden(editor, mask) if constant is None else None
    if hidden is not None:
        condition, hides, dead = hidden
        rest, band = _split_hidden(condition, hides, reader)
    else:
        rest, (band, dead) = [], (None, 0.0) if constant is None else _constant_band(constant)
    if band is None:
        return mask, window
    both = window & band
    limits = both.low, both.high
    hides_all = dead == float("-inf")
    if not rest and (hides_all or (alone and sees_some(reader.queries, reader.keys, *window_of(both)))):
        return None, both
    if hides_all and alone and limits != (window.low, window.high):
        return _all_of(editor, rest, before), both
    return _narrowed(editor, mask, rest, band, before), window


def window_of(band: Band) -> tuple[int | None, int | None]:
    """``before`` and ``after`` of an attention, see ``l0compile::attention``."""
    return None if band.low is None else -band.low, band.high


def _without_summands(
    editor: Editor, mask: fx.Node, window: Band, before: fx.Node, reader: BandReader
) -> tuple[fx.Node | None, Band]:
    kept = []
    for part in mask.args:
        rest, window = _without_added(editor, part, window, before, reader, alone=False)
        kept += [] if rest is None else [part]
    if len(kept) == len(mask.args):
        return mask, window
    return (kept[0] if kept else None), window


def _split(mask: Any, reader: BandReader) -> tuple[list[fx.Node], Band]:
    """(operands of nested conjunctions, the bands among them as one)."""
    mask = _without_copies(mask)
    band = reader.band(mask)
    if band is not None and _near(band):
        return [], band
    if facts_of(mask).logic == "and" and all(_is_bool(arg) for arg in mask.args):
        (left, one), (right, other) = (_split(arg, reader) for arg in mask.args)
        return left + right, one & other
    return [mask], Band()


def _split_hidden(condition: fx.Node, hides: bool, reader: BandReader) -> tuple[list[fx.Node], Band | None]:
    if not hides:
        return _split(condition, reader)
    band = reader.band(condition)
    seen = band.complement if band is not None else None
    return [], seen if seen is not None and _near(seen) else None


def _near(band: Band) -> bool:
    return all(limit is None or abs(limit) < _FARTHEST for limit in (band.low, band.high))


def _hidden(editor: Editor, mask: fx.Node) -> tuple[fx.Node, bool, float] | None:
    """(condition, whether it is true where a key is hidden, the number there) of a mask of 0 and that number."""
    if is_op(mask, aten.tril.default, aten.triu.default):
        filler = _number(editor, arguments(mask)["self"])
        return (mask, True, filler) if filler in _DEAD else None
    if is_op(mask, aten.masked_fill.Scalar):
        other, condition, chosen = mask.args
    elif is_op(mask, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.self):
        condition, chosen, other = mask.args
    else:
        return None
    numbers = _number(editor, chosen), _number(editor, other)  # where the condition is true, and where not
    for hides in (False, True):
        seen, dead = numbers[::-1] if hides else numbers
        if seen == 0 and dead in _DEAD and isinstance(condition, fx.Node):
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


def _constant_band(value: Tensor) -> tuple[Band | None, float]:
    """(the band of zeros, the number elsewhere) of a mask that is added to scores."""
    dead = float(value.min()) if value.numel() else 0.0
    if value.numel() and not value.any():
        return Band(), dead
    if dead not in _DEAD or not bool(((value == 0) | (value == dead)).all()):
        return None, dead
    return band_of_mask(value == 0), dead


def _narrowed(editor: Editor, mask: fx.Node, rest: list[fx.Node], band: Band, before: fx.Node) -> fx.Node:
    """A mask of one condition without what broadcasts the condition: the attention does that."""
    if not is_op(mask, aten.where.ScalarOther) or len(rest) != 1 or band != Band() or rest[0] is mask.args[0]:
        return mask
    if shape(mask.args[1]) != ():
        return mask
    return editor.call(aten.where.ScalarOther, (rest[0], *mask.args[1:]), before=before)


def _all_of(editor: Editor, terms: list[fx.Node], before: fx.Node) -> fx.Node | None:
    result = terms[0] if terms else None
    for term in terms[1:]:
        result = editor.call(aten.logical_and.default, (result, term), before=before)
    return result


def _without_copies(node: Any) -> Any:
    """What a mask is a copy of, or what it broadcasts; in its own dtype."""
    while facts_of(node).copies or facts_of(node).moves == "repeat":
        node = node.args[0]
    return node


def _is_bool(node: Any) -> bool:
    value = tensor(node)
    return value is not None and value.dtype == torch.bool
