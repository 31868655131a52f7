"""Find the mask "no later key" in a mask that is given as a tensor."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from l0compile.analysis.index_facts import IndexFact
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_op, same_size, shape, tensor
from l0compile.ir.operator_facts import facts_of

aten = torch.ops.aten


def without_causal(
    editor: Editor, mask: Any, causal: bool, before: fx.Node, facts: Mapping[str, IndexFact]
) -> tuple[fx.Node | None, bool]:
    """Take "no later key" out of a mask.

    Rewrite: and(rest, key position <= query position) -> rest and causal, also nested and with nothing left.
    Checks: positions count from 0 along the last axis and the one before it, and the comparison has the mask's full
        extent on both (so that they are the positions of keys and queries); or the mask is a constant of that value.

    Args:
        editor: of the graph of the mask.
        mask: the mask of an attention, or None.
        causal: whether the attention itself is causal.
        before: the node that new operators go before.
        facts: by node name.

    Returns:
        (rest of the mask or None, whether attention is causal), which together are the mask given.
    """
    mask = _without_copies(mask)
    if mask is None or tensor(mask) is None or mask.meta["val"].dtype != torch.bool:
        return mask, causal
    rest = _terms(editor, mask, shape(mask), facts)
    terms = [term for term in rest if term is not None]
    if len(terms) == len(rest):
        return mask, causal
    if not terms:
        return None, True
    result = terms[0]
    for term in terms[1:]:
        result = editor.call(aten.logical_and.default, (result, term), before=before)
    result.meta.setdefault("val", mask.meta["val"])
    return result, True


def _terms(editor: Editor, node: Any, full: Any, facts: Mapping[str, IndexFact]) -> list[fx.Node | None]:
    """The operands of nested conjunctions, with None in place of one that says "no later key"."""
    node = _without_copies(node)
    if facts_of(node).logic == "and" and all(_is_bool(arg) for arg in node.args):
        return [term for arg in node.args for term in _terms(editor, arg, full, facts)]
    return [None if _is_causal(editor, node, full, facts) else node]


def _without_copies(node: Any) -> Any:
    """What a mask is a copy of, or what it broadcasts; in its own dtype."""
    while facts_of(node).copies or facts_of(node).moves == "repeat":
        node = node.args[0]
    return node


def _is_bool(node: Any) -> bool:
    value = tensor(node)
    return value is not None and value.dtype == torch.bool


def _is_causal(editor: Editor, node: fx.Node, full: Any, facts: Mapping[str, IndexFact]) -> bool:
    sizes = shape(node)
    if len(sizes) < 2 or len(full) < 2:
        return False
    if not (same_size(sizes[-1], full[-1]) and same_size(sizes[-2], full[-2])):
        return False
    value = editor.value(node)
    if value is not None:
        lower = torch.ones(value.shape[-2:], dtype=torch.bool).tril()
        return value.dtype == torch.bool and bool((value == lower).all())
    if is_op(node, aten.le.Tensor):
        keys, queries = node.args
    elif is_op(node, aten.ge.Tensor):
        queries, keys = node.args
    else:
        return False
    return _counts(keys, -1, facts) and _counts(queries, -2, facts)


def _counts(node: Any, axis: int, facts: Mapping[str, IndexFact]) -> bool:
    """Whether the values of an integer tensor are 0, 1, 2, ... along ``axis`` and depend on nothing else."""
    fact = facts.get(node.name) if isinstance(node, fx.Node) else None
    return (
        fact is not None and fact.low == 0 and fact.axis is not None and fact.axis - len(shape(node)) == axis
    )
