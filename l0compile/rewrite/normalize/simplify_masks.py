"""Undo what code that builds attention masks does for generality: trivial comparisons, gathers that copy."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from l0compile.analysis.index_facts import IndexFact, index_facts
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, same_shape, same_size, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

aten = torch.ops.aten

_Known = Mapping[str, IndexFact]
# The argument that is the mask of an attention, and its place.
_MASK_OF = {
    aten.scaled_dot_product_attention.default: ("attn_mask", 3),
    torch.ops.l0compile.block_attention.default: ("mask", 11),
}


def simplify_masks(program: Program) -> Program:
    """Replace masks and index arithmetic whose values are known by those values.

    Rewrite: and(all true, x) -> expand(x), or(all false, x) -> expand(x), where(all true, a, b) -> expand(a);
        index(x, [0..n along one axis each]) -> reshape(x); an all-true attention mask -> None, and expand(x) -> x where
        it is the mask of listed keys; embedding(table, one known index) -> expand(table row).
    Checks: the value follows from integer ranges alone; an index counts from 0 to exactly the indexed size (symbols
        provably equal), each along its own axis, in order; sizes can be read from the inputs.
    Returns: the program, itself when nothing is known. A padding mask reaches attention as [B, 1, 1, S].
    """
    # By name: the editor works on a copy of the graph, with the same node names.
    known = {node.name: fact for node, fact in index_facts(program).items()}
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if node.op == "call_function" and tensor(node) is not None:
            _simplify(editor, node, known)
    return editor.finish()


def _simplify(editor: Editor, node: fx.Node, known: _Known) -> None:
    logic = facts_of(node).logic
    if logic and node.meta["val"].dtype == torch.bool:
        neutral = 1 if logic == "and" else 0
        left, right = node.args[:2]
        if _uniform(left, known) == neutral:
            _become(editor, node, right)
        elif _uniform(right, known) == neutral:
            _become(editor, node, left)
    elif is_op(node, aten.where.self):
        condition = _uniform(node.args[0], known)
        if condition is not None:
            _become(editor, node, node.args[1] if condition else node.args[2])
    elif is_op(node, aten.index.Tensor):
        _index_to_reshape(editor, node, known)
    elif is_op(node, aten.embedding.default):
        _constant_row(editor, node, known)
    elif is_op(node, *_MASK_OF):
        _simplify_attention(editor, node, known)


def _simplify_attention(editor: Editor, node: fx.Node, known: _Known) -> None:
    """Drop a mask that hides nothing; attention to listed keys takes a mask before it was expanded."""
    name, place = _MASK_OF[node.target]
    mask = arguments(node)[name]
    if tensor(mask) is None:
        return
    if _uniform(mask, known) == 1 and mask.meta["val"].dtype == torch.bool:
        simpler = None
    elif name == "mask" and is_op(mask, aten.expand.default):
        simpler = mask.args[0]
    else:
        return
    rest = (simpler, *node.args[place + 1 :]) if len(node.args) > place else ()
    node.args = (*node.args[:place], *rest)
    others = {key: value for key, value in node.kwargs.items() if key != name}
    node.kwargs = others if rest or simpler is None else {**others, name: simpler}
    editor.changed += 1


def _uniform(arg: Any, known: _Known) -> int | None:
    fact = known.get(arg.name) if isinstance(arg, fx.Node) else None
    return fact.uniform if fact else None


def _become(editor: Editor, node: fx.Node, operand: Any) -> None:
    """Replace ``node`` by ``operand`` broadcast to the node's shape."""
    value = tensor(operand)
    if value is None or value.dtype != node.meta["val"].dtype:
        return
    if same_shape(value.shape, shape(node)):
        editor.replace(node, operand)
        return
    sizes = editor.sizes(shape(node))
    if sizes is not None:
        editor.replace(node, editor.call(aten.expand.default, (operand, sizes), before=node))


def _index_to_reshape(editor: Editor, node: fx.Node, known: _Known) -> None:
    source: Any = node.args[0]
    indices: Any = node.args[1]
    if len(indices) != len(shape(source)) or any(index is None for index in indices):
        return
    facts = [known.get(index.name) for index in indices]
    # Indices broadcast from the right, so an index's own axis counts from the end.
    axes = [
        fact.axis - len(shape(index))
        for fact, index in zip(facts, indices, strict=True)
        if fact is not None and fact.low == 0 and fact.axis is not None
    ]
    if len(axes) != len(indices) or axes != sorted(set(axes)):
        return
    result = shape(node)
    covered = all(
        same_size(result[axis], size) and same_size(shape(index)[axis], size)
        for axis, size, index in zip(axes, shape(source), indices, strict=True)
    )
    others = [size for axis, size in enumerate(result) if axis - len(result) not in axes]
    if not covered or not all(same_size(size, 1) for size in others):
        return
    sizes = editor.sizes(result)
    if sizes is not None:
        editor.replace(node, editor.call(aten.reshape.default, (source, sizes), before=node))


def _constant_row(editor: Editor, node: fx.Node, known: _Known) -> None:
    table, index = editor.value(node.args[0]), _uniform(node.args[1], known)
    if table is None or index is None or not 0 <= index < len(table):
        return
    sizes = editor.sizes(shape(node))
    if sizes is not None:
        row = editor.add_constant(f"{node.args[0].target}_row", table[index], node)
        editor.replace(node, editor.call(aten.expand.default, (row, sizes), before=node))
