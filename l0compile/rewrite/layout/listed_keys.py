"""Attention to listed keys in the tokens-in-lanes layout."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.nodes import arguments, example_size, is_static, shape
from l0compile.ir.ops.attention.packed_block import EDGE, packed_distances, packed_patterns
from l0compile.ir.ops.words import features_of
from l0compile.rewrite.layout.packing import Packing, packable

aten, l0 = torch.ops.aten, torch.ops.l0compile

_LISTS = ("full_counts", "full_blocks", "partial_counts", "partial_blocks", "pattern_numbers")
_COLUMNS = ("column_counts", "columns")


def packed_block_attention(packing: Packing, node: fx.Node) -> fx.Node | None:
    """The packed form of ``l0compile::block_attention``; None where it stays in rows.

    Blocks read packed keys. Columns read keys in rows, where what belongs to one key lies side by side.
    """
    own = arguments(node)
    q, k, v = (own[name] for name in "qkv")
    columns = own["columns"] is not None
    blocks = own["full_blocks"] is not None or own["partial_blocks"] is not None
    if not (columns or blocks) or not _able(own, columns):
        return None
    sizes = [packing.sizes.of(size) for size in (*shape(q)[:2], shape(k)[1])]
    keys: list[fx.Node | None] = [packing.pack(k, node), packing.pack(v, node)] if blocks else [None, None]
    if own["numbers"] == "bfloat16":
        keys = [packing.narrow(k, node), packing.token_pairs(v, node)]
    rows = [k, v] if columns else [None, None]
    lists = [own[name] for name in _LISTS]
    singles = [own[name] for name in _COLUMNS]
    patterns, bias = _patterns(packing, own["patterns"], node), _distances(packing, own["bias"], node)
    rest = [
        own[name] for name in ("heads", "q_block", "k_block", "scale", "softcap", "log_sum_exp", "numbers")
    ]
    args = (
        packing.pack(q, node), *keys, *rows, *lists, patterns, *singles, own["mask"], bias, *sizes, *rest,
        _kept(packing, own),
    )  # fmt: skip
    return packing.editor.call(l0.packed_block_attention.default, args, before=node)


def _kept(packing: Packing, own: dict[str, Any]) -> float:
    """The share of the keys that a row lists, on average; of dynamic lists the most that they have room for."""
    listed = 0.0
    for kind, name, size in (
        ("full", "blocks", own["k_block"]),
        ("partial", "blocks", own["k_block"]),
        ("column", "", 1),
    ):
        entries, counts = own[f"{kind}_{name}" if name else "columns"], own[f"{kind}_counts"]
        if entries is None:
            continue
        known = packing.editor.value(counts)
        count = example_size(shape(entries)[3]) if known is None else float(known.double().mean())
        listed += count * size
    return min(1.0, listed / max(1, example_size(shape(own["k"])[1])))


def _able(own: dict[str, Any], columns: bool) -> bool:
    if not all(packable(own[name]) for name in "qkv"):
        return False
    if own["numbers"] == "bfloat16":
        width = shape(own["q"])[-1] // own["heads"]
        if columns or width % features_of(torch.bfloat16):
            return False
    lists = [own[name].meta["val"] for name in (*_LISTS, *_COLUMNS) if own[name] is not None]
    if any(value.dtype != torch.int32 for value in lists):
        return False
    mask, bias = own["mask"], own["bias"]
    if mask is not None:
        value = mask.meta["val"]
        if value.ndim > 4 or value.dtype not in (torch.bool, torch.float32):
            return False
        if value.ndim > 1 and not (is_static(value.shape[-2]) and value.shape[-2] == 1):
            return False
    return bias is None or bias.meta["val"].dtype == torch.float32


def _patterns(packing: Packing, patterns: fx.Node | None, node: fx.Node) -> fx.Node | None:
    if patterns is None:
        return None
    editor, known = packing.editor, packing.editor.value(patterns)
    if known is not None:
        return editor.add_constant(f"{patterns.target}_packed", packed_patterns(known), node)
    turned = editor.call(aten.transpose.int, (patterns, 1, 2), before=node)
    marks = editor.call(aten._to_copy.default, (turned,), before=node, kwargs={"dtype": torch.int8})
    return editor.call(aten.constant_pad_nd.default, (marks, [EDGE] * 4), before=node)


def _distances(packing: Packing, bias: fx.Node | None, node: fx.Node) -> fx.Node | None:
    if bias is None:
        return None
    editor, known = packing.editor, packing.editor.value(bias)
    if known is not None:
        return editor.add_constant(f"{bias.target}_packed", packed_distances(known), node)
    return editor.call(aten.constant_pad_nd.default, (bias, [EDGE] * 2), before=node)
