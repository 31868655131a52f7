"""Make attention one operator on [batch, token, feature] tensors, so that heads can be cut and no transpose is left."""

import math
from typing import Any

import torch
from torch import fx

from l0compile.capture import Editor, Program
from l0compile.capture.nodes import arguments, is_op, is_static, same_size, shape, tensor

aten = torch.ops.aten


def fuse_attention(program: Program) -> Program:
    """scaled_dot_product_attention -> l0compile::attention.

    Rewrite: sdpa(q, k, v, mask) with q [B, H, Sq, D] ->
        transpose(unflatten(attention(join(q), join(k), join(v), mask, H, scale, causal)), 1, 2)
        with join(t) = flatten(transpose(t, 1, 2)). Canonicalizing then cancels these against the model's own
        view and transpose. ``expand`` on the mask is dropped, since the operator broadcasts.
    Checks: rank 4; heads and head widths are numbers; q, k, v agree in batch and heads; no dropout; no grouped-query
        broadcasting; the mask is bool (an additive float mask may hold any value, so such attention is left alone).
    Returns: the program, itself when there is nothing to fuse.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.scaled_dot_product_attention.default) and refusal(node) is None:
            editor.replace(node, _fused(editor, node))
    return editor.finish()


def refusal(node: fx.Node) -> str | None:
    """Why an sdpa node is left as it is, or None when it can be fused."""
    given = arguments(node)
    q, k, v = (tensor(given[name]) for name in ("query", "key", "value"))
    mask = given["attn_mask"]
    if q is None or k is None or v is None or not q.ndim == k.ndim == v.ndim == 4:
        return "q, k and v are not of rank 4"
    if not all(is_static(size) for size in (q.shape[1], k.shape[1], q.shape[3], v.shape[3])):
        return "heads or head width are symbolic"
    if given["enable_gqa"] or not q.shape[1] == k.shape[1] == v.shape[1]:
        return "key and value heads are shared between query heads"
    if not (same_size(q.shape[0], k.shape[0]) and same_size(q.shape[0], v.shape[0])):
        return "batch sizes of q, k and v are not provably equal"
    if given["dropout_p"] or not isinstance(given["is_causal"], bool):
        return "dropout is on, or causality depends on a size"
    if mask is not None and (tensor(mask) is None or mask.meta["val"].dtype != torch.bool):
        return "the mask is additive (floating), not bool"
    if mask is not None and mask.meta["val"].ndim > 4:
        return "the mask has more than 4 dimensions"
    return None


def _fused(editor: Editor, node: fx.Node) -> fx.Node:
    given = arguments(node)
    heads, width = shape(given["query"])[1], shape(given["query"])[3]
    q, k, v = (_joined(editor, given[name], node) for name in ("query", "key", "value"))
    mask = _unexpanded(given["attn_mask"])
    scale = float(given["scale"]) if given["scale"] is not None else 1 / math.sqrt(width)
    fused = editor.call(
        torch.ops.l0compile.attention.default, (q, k, v, mask, heads, scale, given["is_causal"]), before=node
    )
    split = editor.call(aten.unflatten.int, (fused, -1, [heads, shape(given["value"])[3]]), before=node)
    return editor.call(aten.transpose.int, (split, 1, 2), before=node)


def _joined(editor: Editor, operand: fx.Node, before: fx.Node) -> fx.Node:
    swapped = editor.call(aten.transpose.int, (operand, 1, 2), before=before)
    return editor.call(aten.flatten.using_ints, (swapped, 2, 3), before=before)


def _unexpanded(mask: Any) -> Any:
    while is_op(mask, aten.expand.default):
        mask = mask.args[0]
    return mask
