"""Recognise attention written as two matrix products around a softmax."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_float, is_op, same_shape, same_size, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

aten = torch.ops.aten


def fuse_eager_attention(program: Program) -> Program:
    """Recognise attention that is written as two matrix products around a softmax.

    Rewrite: softmax(scale * q kᵀ + mask) v -> scaled_dot_product_attention(q, k, v, mask, scale), and capped_attention
        with cap * tanh(scale * q kᵀ / cap) as scores. The scores may be multiplied or divided by numbers,
        or not; the mask may be added, also in several parts, or set to -infinity by masked_fill or where (it becomes
        bool then), and there may be none.
    Checks: q, k, v have rank 4 and the same leading sizes, and the mask is no larger than the scores; float32; nothing
        else reads the scores or the weights. A query that sees no key gives NaN when -infinity is written this way,
        and 0 from attention: the one accepted difference (as rule 10).
    Returns: the program, itself when there is no such attention.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        found = _attention(node)
        if found is not None:
            q, k, v, scores, masks = found
            mask = masks.node
            if masks.inverted:
                mask = editor.call(aten.logical_not.default, (mask,), before=node)
            for other in masks.others:
                mask = editor.call(aten.add.Tensor, (mask, other), before=node)
            call, options = aten.scaled_dot_product_attention.default, {"scale": scores.scale}
            if scores.softcap:
                call = torch.ops.l0compile.capped_attention.default
                options["softcap"] = scores.softcap
            made = editor.call(call, (q, k, v, mask), before=node, origin=node, kwargs=options)
            editor.replace(node, made)
    return editor.finish()


@dataclass(frozen=True)
class _Scores:
    """softcap * tanh(scale * product / softcap), or scale * product where ``softcap`` is 0."""

    product: Any
    scale: float = 1.0
    softcap: float = 0.0


@dataclass(frozen=True)
class _Masks:
    """The masks of an attention.

    Attributes:
        node: the mask, or None.
        others: floating masks that are added to it.
        inverted: whether a bool mask says which keys are dead, instead of which are live.
    """

    node: fx.Node | None = None
    others: tuple[fx.Node, ...] = ()
    inverted: bool = False


def _attention(node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node, _Scores, _Masks] | None:
    """(q, k, v, scores, masks) of a node that is an attention."""
    if not is_op(node, aten.matmul.default) or not _float_of_rank_4(node):
        return None
    weights, v = node.args
    softmax = _through_casts(weights)
    if not is_op(softmax, aten.softmax.int, aten._softmax.default) or not _float_of_rank_4(v, softmax):
        return None
    given = arguments(softmax)
    if given["dim"] % 4 != 3 or given.get("dtype") not in (None, torch.float32) or given.get("half_to_float"):
        return None
    node_of_scores, masks = _masked(_through_casts(softmax.args[0]))
    scores = _scores(node_of_scores)
    product = scores.product
    if not is_op(product, aten.matmul.default) or len(product.users) != 1 or not _float_of_rank_4(product):
        return None
    q, k = product.args[0], _transposed(product.args[1])
    if k is None or not _float_of_rank_4(q, k):
        return None
    same = same_shape(shape(q)[:2], shape(k)[:2]) and same_shape(shape(q)[:2], shape(v)[:2])
    fits = all(_broadcasts(mask, softmax) for mask in (masks.node, *masks.others) if mask is not None)
    return (q, k, v, scores, masks) if same and fits else None


def _broadcasts(mask: fx.Node, scores: fx.Node) -> bool:
    pairs = zip(reversed(shape(mask)), reversed(shape(scores)), strict=False)
    return len(shape(mask)) <= 4 and all(same_size(a, 1) or same_size(a, b) for a, b in pairs)


def _float_of_rank_4(*nodes: Any) -> bool:
    values = [tensor(node) for node in nodes]
    return all(value is not None and value.ndim == 4 and value.dtype == torch.float32 for value in values)


def _through_casts(node: Any) -> Any:
    """The tensor that a chain of copies, each with one reader, starts from; None when it has another reader."""
    while _may_copy(node) and len(node.users) == 1 and _float_of_rank_4(node, node.args[0]):
        if is_op(node, aten.dropout.default) and arguments(node)["train"]:
            return node
        node = node.args[0]
    return node if isinstance(node, fx.Node) and len(node.users) == 1 else None


def _may_copy(node: Any) -> bool:
    return facts_of(node).moves == "copy" or is_op(node, aten.dropout.default)


def _masked(node: Any) -> tuple[Any, _Masks]:
    """(scores, masks) of masked scores."""
    added: list[fx.Node] = []
    while is_op(node, aten.add.Tensor) and not node.kwargs and len(node.users) == 1:
        pairs = [pair for pair in (node.args, node.args[::-1]) if _is_scores(pair[0]) and is_float(pair[1])]
        if not pairs:
            break
        node = pairs[0][0]
        added.append(pairs[0][1])
    if added:
        return node, _Masks(added[0], tuple(added[1:]))
    if is_op(node, aten.masked_fill.Scalar) and node.args[2] == float("-inf") and _is_scores(node.args[0]):
        return node.args[0], _Masks(node.args[1], inverted=True)
    if is_op(node, aten.where.ScalarOther) and node.args[2] == float("-inf") and _is_scores(node.args[1]):
        return node.args[1], _Masks(node.args[0])
    return node, _Masks()


def _is_scores(node: Any) -> bool:
    """Whether a node is the product of q and k, scaled, with masks added or not."""
    while is_op(node, aten.add.Tensor) and len(node.users) == 1:
        node = next((arg for arg in node.args if _is_scores(arg)), None)
    return node is not None and is_op(_scores(node).product, aten.matmul.default) and len(node.users) == 1


def _scores(node: Any) -> _Scores:
    """What a node is as scores of some product."""
    factor, inner = _scaled(node)
    if not (is_op(inner, aten.tanh.default) and len(inner.users) == 1 and factor > 0):
        return _Scores(inner, factor)
    scale, product = _scaled(inner.args[0])
    return _Scores(product, scale * factor, factor)


def _scaled(node: Any) -> tuple[float, Any]:
    """(number, rest) of products and quotients of a tensor and numbers."""
    factor = 1.0
    while isinstance(node, fx.Node) and len(node.users) == 1:
        found = _factor(node)
        if found is None:
            break
        factor, node = factor * found[0], found[1]
    return factor, node


def _factor(node: fx.Node) -> tuple[float, Any] | None:
    """(number, rest) of one product or quotient."""
    if is_op(node, aten.mul.Tensor):
        for value, number in (node.args, node.args[::-1]):
            if isinstance(number, (int, float)):
                return float(number), value
    if is_op(node, aten.div.Tensor):
        value, number = node.args
        if isinstance(number, (int, float)) and number:
            return 1.0 / float(number), value
    return None


def _transposed(node: Any) -> fx.Node | None:
    """k of kᵀ."""
    if is_op(node, aten.transpose.int) and sorted(axis % 4 for axis in node.args[1:]) == [2, 3]:
        return node.args[0] if isinstance(node.args[0], fx.Node) else None
    if is_op(node, aten.permute.default) and [axis % 4 for axis in node.args[1]] == [0, 1, 3, 2]:
        return node.args[0] if isinstance(node.args[0], fx.Node) else None
    return None
