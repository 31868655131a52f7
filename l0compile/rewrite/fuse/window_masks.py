"""Find windows of positions, such as "no later key", in a mask that is given as a tensor."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.analysis.band import Band
from l0compile.analysis.band_reader import BandReader
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_float, is_op, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.ops.attention.multi_head import sees_some
from l0compile.rewrite.fuse.added_masks import DEAD, constant_band, hidden_keys
from l0compile.rewrite.fuse.blind_queries import sighted

aten = torch.ops.aten

_FARTHEST = 1 << 30  # kernels count positions in 32 bits


@dataclass(frozen=True)
class Windowed:
    """What an attention sees: what is left of its mask, a window, and the queries that see a key at all.

    Attributes:
        mask: a mask besides the window, or None.
        window: the keys around a query that it may see.
        seen: bool [batch, queries, 1]; queries that see no key have the mean of all values as their result. None: they
            have 0.
    """

    mask: fx.Node | None
    window: Band
    seen: fx.Node | None = None

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """``before`` and ``after`` of an attention, see ``l0compile::attention``."""
        return _limits(self.window)


def without_window(
    editor: Editor, mask: Any, window: Band, before: fx.Node, reader: BandReader, exact: bool = True
) -> Windowed:
    """Take what depends on the distance from query to key alone out of a mask.

    Rewrite: and(rest, band) -> rest, also nested and with nothing left, where band compares positions or their distance
        with a number, or is a constant of that form; likewise where(and(rest, band), 0, number) that is added, with
        -infinity or the lowest float32.
    Checks: positions count from 0 along the whole last axis and the one before it, so that they are those of keys and
        queries. The lowest float32 only hides a key from queries that see another: each must see one in the band, or
        those that do not are told apart.

    Args:
        editor: of the graph of the mask.
        mask: the mask of an attention, or None.
        window: what the attention itself lets through.
        before: the node that new operators go before.
        reader: of the attention's masks.
        exact: products are in float32.

    Returns:
        What the mask and the window given let through together.
    """
    mask = _without_copies(mask)
    if mask is None or tensor(mask) is None:
        return Windowed(mask, window)
    if is_float(mask):
        return _without_added(editor, mask, window, before, reader, exact)
    rest, found = _split(mask, reader)
    return (
        Windowed(mask, window) if rest == [mask] else Windowed(_all_of(editor, rest, before), window & found)
    )


def _without_added(
    editor: Editor, mask: fx.Node, window: Band, before: fx.Node, reader: BandReader, exact: bool
) -> Windowed:
    """The same of a mask that is added to the scores."""
    if is_op(mask, aten.add.Tensor) and not mask.kwargs:
        return _without_summands(editor, mask, window, reader)
    rest, band, dead = _parts(editor, mask, reader)
    if band is None:
        return Windowed(mask, window)
    both = window & band
    if not rest and (dead == DEAD[0] or sees_some(reader.queries, reader.keys, *_limits(both))):
        return Windowed(None, both)
    if band == Band():
        return Windowed(_narrowed(editor, mask, rest, before), window)
    if dead == DEAD[0]:
        return Windowed(_all_of(editor, rest, before), both)
    seen = sighted(editor, rest[0], both, before, reader) if exact and len(rest) == 1 else None
    return Windowed(mask, window) if seen is None else Windowed(rest[0], both, seen)


def _parts(editor: Editor, mask: fx.Node, reader: BandReader) -> tuple[list[fx.Node], Band | None, float]:
    """(conditions besides the band, the band, what is added elsewhere); no band where nothing is known."""
    constant = editor.value(mask)
    hidden = hidden_keys(editor, mask) if constant is None else None
    if hidden is not None:
        condition, hides, dead = hidden
        return (*_split_hidden(condition, hides, reader), dead)
    return ([], None, 0.0) if constant is None else ([], *constant_band(constant))


def _limits(band: Band) -> tuple[int | None, int | None]:
    return None if band.low is None else -band.low, band.high


def _without_summands(editor: Editor, mask: fx.Node, window: Band, reader: BandReader) -> Windowed:
    """Of a sum of masks those go that are bands of -infinity: beside them, no other number is heard."""
    kept: list[Any] = []
    for summand in mask.args:
        part = _without_copies(summand)
        rest, band, dead = _parts(editor, part, reader)
        if band is None or rest or dead != DEAD[0]:
            kept.append(summand)
        else:
            window = window & band
    return Windowed(mask if len(kept) == len(mask.args) else kept[0] if kept else None, window)


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


def _narrowed(editor: Editor, mask: fx.Node, rest: list[fx.Node], before: fx.Node) -> fx.Node:
    """A mask of one condition without what broadcasts the condition: the attention does that."""
    if not is_op(mask, aten.where.ScalarOther) or len(rest) != 1 or rest[0] is mask.args[0]:
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
