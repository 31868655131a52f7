"""Queries that see no key, where a mask adds the lowest float32 to scores instead of -infinity."""

from typing import Any

import torch
from torch import fx

from l0compile.analysis.band import Band
from l0compile.analysis.band_reader import BandReader
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import same_size, shape

aten = torch.ops.aten


def sighted(editor: Editor, live: fx.Node, band: Band, before: fx.Node, reader: BandReader) -> fx.Node | None:
    """The queries, bool [batch, queries, 1], that see a live key in a window; None where that is not told.

    Args:
        editor: of the graph.
        live: bool [batch or 1, 1, 1, keys].
        band: the window, which has two limits: without them, what telling takes in every layer may not pay.
        before: the node that new operators go before.
        reader: of the attention's masks.
    """
    sizes = shape(live)
    alike = len(sizes) == 4 and all(same_size(size, 1) for size in sizes[1:3])
    if not _is_near(band) or not alike or not same_size(reader.queries, reader.keys):
        return None

    def call(target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        return editor.call(target, args, before=before, kwargs=kwargs)

    row = call(aten._to_copy.default, call(aten.squeeze.dim, live, 1), dtype=torch.float32)
    padded = call(aten.constant_pad_nd.default, row, [-band.low, band.high], 0.0)  # type: ignore[operator]
    seen = call(aten.max_pool1d.default, padded, [band.high - band.low + 1], [1])  # type: ignore[operator]
    return call(aten.transpose.int, call(aten.gt.Scalar, seen, 0.5), 1, 2)


def _is_near(band: Band) -> bool:
    """Whether a query sees itself, and keys to a number of places on both sides."""
    return band.low is not None and band.high is not None and band.low <= 0 <= band.high


def or_mean(
    editor: Editor, result: fx.Node, seen: fx.Node, v: fx.Node, heads: int, before: fx.Node, key_heads: int
) -> fx.Node:
    """``result`` [batch, queries, features] where a query has seen a key, and the mean of all values elsewhere.

    The lowest float32 swallows any score added to it, so that such a query weighs all keys alike.
    """

    def call(target: Any, *args: Any) -> fx.Node:
        return editor.call(target, args, before=before)

    mean = call(aten.mean.dim, v, [1], True)
    if key_heads != heads:
        by_head = call(aten.unflatten.int, mean, -1, [key_heads, 1, -1])
        spread = call(aten.expand.default, by_head, [-1, -1, -1, heads // key_heads, -1])
        mean = call(aten.flatten.using_ints, spread, 2, 4)
    return call(aten.where.self, seen, result, mean)
