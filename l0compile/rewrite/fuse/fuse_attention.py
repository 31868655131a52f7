"""Make attention one operator on [batch, token, feature] tensors."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from l0compile.analysis.band import Band
from l0compile.analysis.band_reader import BandReader
from l0compile.analysis.index_facts import IndexFact, index_facts
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, same_shape, same_size, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.blind_queries import or_mean
from l0compile.rewrite.fuse.window_masks import without_window

aten = torch.ops.aten
_NARROW = (torch.float16, torch.bfloat16)
_BFLOAT16 = torch.ops.l0compile.bfloat16_attention.default
_CAPPED = torch.ops.l0compile.capped_attention.default


def fuse_attention(program: Program, narrow: bool = False) -> Program:
    """Make attention one operator on [batch, token, feature] tensors, so that heads can be cut and transposes cancel.

    Rewrite: sdpa(q, k, v, mask) with q [B, H, Sq, D] ->
        transpose(unflatten(attention(join(q), join(k), join(v), mask, H, scale, before, after)), 1, 2)
        with join(t) = flatten(transpose(t, 1, 2)). Canonicalizing cancels these against the views and transposes of the
        model. The operator broadcasts, so an ``expand`` of the mask goes. Key and value heads that several query heads
        share (by ``enable_gqa``, or repeated by expand and reshape) are joined as they were before the repetition. A
        mask of positions, such as "no later key" or a sliding window, alone or together with another, becomes
        ``before`` and ``after``. Likewise of bfloat16_attention, whose products are in bfloat16,
        and of capped_attention.
    Checks: keys and values are not state of the model; rank 4; float32; heads and head widths are numbers; q, k, v
        agree in batch and heads; no dropout; the mask is bool or float32. A query with no live key gives 0 on both
        sides, or the mean of all values where a mask adds the lowest float32.

    Args:
        program: normalized.
        narrow: in place of float32, float16 or bfloat16, with a mask that is bool if there is one.

    Returns:
        The program, itself when there is nothing to fuse.
    """
    operators = (aten.scaled_dot_product_attention.default, _BFLOAT16, _CAPPED)
    facts = {node.name: fact for node, fact in index_facts(program).items()}
    editor, bands = Editor(program), dict[str, Band | None]()
    for node in list(editor.graph.nodes):
        known = is_op(node, *operators) and refusal(node, _NARROW if narrow else (torch.float32,)) is None
        if known and not reads_cache(node, program):
            editor.replace(node, _fused(editor, node, facts, bands))
    return editor.finish()


def reads_cache(node: fx.Node, program: Program) -> bool:
    """Whether the keys or values of an sdpa node are state of the model.

    Joining the heads of such a cache [B, H, S, D] would copy all of it for each token.
    """
    flat = program.output.args[0]
    kept = {item.name for item in flat[len(program.results) :] if isinstance(item, fx.Node)}
    kept |= {item.name for item in program.placeholders[len(program.inputs) :]}
    operands = [arguments(node)[name] for name in ("key", "value")]
    return any((_before_repeat(operand) or operand).name in kept for operand in operands)


def refusal(node: fx.Node, types: tuple[torch.dtype, ...] = (torch.float32,)) -> str | None:
    """The reason why an sdpa node is left as it is; None when it can be fused. ``types``: of q, k and v."""
    given = arguments(node)
    q, k, v = (tensor(given[name]) for name in ("query", "key", "value"))
    mask = given["attn_mask"]
    if q is None or k is None or v is None or not q.ndim == k.ndim == v.ndim == 4:
        return "q, k and v are not of rank 4"
    if q.dtype not in types or not q.dtype == k.dtype == v.dtype:
        return f"it is not in float32 but in {q.dtype}"
    if not all(is_static(size) for size in (q.shape[1], k.shape[1], q.shape[3], v.shape[3])):
        return "heads or head width are symbolic"
    shared = bool(given["enable_gqa"]) and k.shape[1] > 0 and q.shape[1] % k.shape[1] == 0
    if k.shape[1] != v.shape[1] or not (q.shape[1] == k.shape[1] or shared):
        return "q, k and v have other numbers of heads"
    if not (same_size(q.shape[0], k.shape[0]) and same_size(q.shape[0], v.shape[0])):
        return "batch sizes of q, k and v are not provably equal"
    if given["dropout_p"] or not isinstance(given["is_causal"], bool):
        return "dropout is on, or causality depends on a size"
    if mask is not None and (
        tensor(mask) is None or mask.meta["val"].dtype not in {torch.bool, *types} - {*_NARROW}
    ):
        return "the mask is neither bool nor float32"
    if mask is not None and mask.meta["val"].ndim > 4:
        return "the mask has more than 4 dimensions"
    return None


def _fused(
    editor: Editor, node: fx.Node, facts: Mapping[str, IndexFact], bands: dict[str, Band | None]
) -> fx.Node:
    given = arguments(node)
    heads, width = shape(given["query"])[1], shape(given["query"])[3]
    key, value = given["key"], given["value"]
    unique = _before_repeat(key), _before_repeat(value)
    if (
        unique[0] is not None
        and unique[1] is not None
        and same_size(shape(unique[0])[1], shape(unique[1])[1])
    ):
        key, value = unique
    q, k, v = (_joined(editor, operand, node) for operand in (given["query"], key, value))
    reader = BandReader(facts, editor.value, shape(given["query"])[2], shape(given["key"])[2], bands)
    window = Band(high=0) if given["is_causal"] else Band()
    narrow = is_op(node, _BFLOAT16)
    sees = without_window(editor, given["attn_mask"], window, node, reader, exact=not narrow)
    scale = float(given["scale"]) if given["scale"] is not None else 1 / math.sqrt(width)
    args: tuple[Any, ...] = (q, k, v, sees.mask, heads, scale, *sees.limits)
    if narrow or is_op(node, _CAPPED):
        args = (*args, "bfloat16" if narrow else "float32", given.get("softcap", 0.0))
    fused = editor.call(torch.ops.l0compile.attention.default, args, before=node)
    if sees.seen is not None:
        fused = or_mean(editor, fused, sees.seen, v, heads, node, shape(value)[1])
    split = editor.call(aten.unflatten.int, (fused, -1, [heads, shape(given["value"])[3]]), before=node)
    return editor.call(aten.transpose.int, (split, 1, 2), before=node)


def _joined(editor: Editor, operand: fx.Node, before: fx.Node) -> fx.Node:
    """[B, H, S, D], or [B, H, 1, S, D] as repeated heads have it -> [B, S, H*D]."""
    if len(shape(operand)) == 5:
        operand = editor.call(aten.squeeze.dim, (operand, 2), before=before)
    swapped = editor.call(aten.transpose.int, (operand, 1, 2), before=before)
    return editor.call(aten.flatten.using_ints, (swapped, 2, 3), before=before)


def _before_repeat(node: Any) -> fx.Node | None:
    """The key or value heads that ``node`` [B, H, S, D] repeats, each several times in a row; None when it does not.

    x [B, kv, 1, S, D] of reshape(expand(x, [B, kv, H / kv, S, D])), or x [B, 1, S, D] of expand(x, [B, H, S, D]).
    """
    repeated = node
    while facts_of(repeated).copies:
        repeated = repeated.args[0]
    if is_op(repeated, aten.expand.default) and len(shape(repeated.args[0])) == 4:
        source = repeated.args[0]
        wanted = [shape(node)[0], 1, *shape(node)[2:]]
        return source if same_shape(shape(source), wanted) else None
    if facts_of(repeated).moves != "reshape":
        return None
    expanded = repeated.args[0]
    while facts_of(expanded).copies:
        expanded = expanded.args[0]
    if not is_op(expanded, aten.expand.default) or len(shape(expanded.args[0])) != 5:
        return None
    source, sizes = expanded.args[0], shape(expanded)
    batch, heads, *rest = shape(node)
    if not (is_static(sizes[1]) and is_static(sizes[2]) and sizes[1] * sizes[2] == heads):
        return None
    inside = same_shape([sizes[0], *sizes[3:]], [batch, *rest])
    one_each = same_shape(shape(source), [batch, sizes[1], 1, *rest])
    return source if inside and one_each else None
