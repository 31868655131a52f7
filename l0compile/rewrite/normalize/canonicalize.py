"""Bring the graph to a normal form: nothing that does nothing, no dead code, sizes read from inputs."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor, remove_dead_nodes
from l0compile.ir.nodes import arguments, is_empty_part, is_op, is_static, same_shape, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

aten = torch.ops.aten

_BROADCASTING = tuple(getattr(aten, name).Tensor for name in ("add", "sub", "mul", "div"))
_JOINS = (aten.cat.default, aten.concat.default, aten.concatenate.default)


def canonicalize(program: Program) -> Program:
    """Remove operators that do nothing, and read sizes from the inputs.

    Rewrite: clone(x), dropout(x, p, train=False), detach, contiguous, a cast to the same dtype, a view, expand or
        full slice to the same shape, an index_select of all in order, add(x, 0) of integers, a swap of two axes done
        twice -> x. A reshape of a reshape reads the input of the first one, and arithmetic reads what ``expand``
        broadcasts. ``view`` becomes ``reshape``, because the copy that made it legal may be gone. Unused nodes go.
        copy(x, y), which an assignment to a part becomes, -> y with the dtype and shape of x. cat([x, empty]) -> x
        with the dtype of the result: a cache that starts empty grows this way.
    Checks: shape and dtype of the two sides are provably equal, symbols included.
    Returns: the program, itself when it is in normal form.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if node.op != "call_function" or not node.users:
            continue
        if is_op(node, aten.sym_size.int):
            _canonical_size(editor, node)
            continue
        if facts_of(node).strides == "fit":
            node.target = aten.reshape.default
            editor.changed += 1
        replacement = (
            _join(editor, node)
            or _copied(editor, node)
            or _identity(node)
            or _double_swap(node)
            or _in_order(editor, node)
        )
        if replacement is not None:
            editor.replace(node, replacement)
        else:
            _skip_reshape(editor, node)
            _skip_expand(editor, node)
    editor.changed += remove_dead_nodes(editor.graph)
    return editor.finish()


def _identity(node: fx.Node) -> fx.Node | None:
    """The input that a node returns unchanged; None when it changes it."""
    source = node.args[0] if node.args else None
    before, after = tensor(source), tensor(node)
    if not isinstance(source, fx.Node) or before is None or after is None:
        return None
    if (before.dtype, before.device) != (after.dtype, after.device) or not same_shape(
        before.shape, after.shape
    ):
        return None
    if facts_of(node).moves in ("copy", "reshape", "repeat") or is_op(node, aten.slice.Tensor):
        # A slice of the same length starts at 0 with step 1, negative steps being impossible in torch.
        return source
    if is_op(node, aten.dropout.default):
        given = arguments(node)
        return None if given["train"] and given["p"] else source
    if is_op(node, aten.add.Tensor) and not (after.dtype.is_floating_point or after.dtype.is_complex):
        # Not for floating types here: -0.0 + 0 is 0.0.
        return source if isinstance(node.args[1], int) and node.args[1] == 0 else None
    if is_op(node, aten.permute.default):
        return source if list(node.args[1]) == list(range(after.ndim)) else None
    return None


def _in_order(editor: Editor, node: fx.Node) -> fx.Node | None:
    """x of index_select(x, axis, [0, 1, ...]) that selects all entries in order."""
    if not is_op(node, aten.index_select.default):
        return None
    given = arguments(node)
    order, x = editor.value(given["index"]), given["self"]
    size = shape(x)[given["dim"]] if shape(x) else 0
    if order is None or order.ndim != 1 or not is_static(size) or len(order) != size:
        return None
    assert isinstance(x, fx.Node)
    return x if torch.equal(order, torch.arange(size, dtype=order.dtype)) else None


def _join(editor: Editor, node: fx.Node) -> fx.Node | None:
    """Leave out the empty parts of a concatenation; returns the only part that is left, if there is only one."""
    if not is_op(node, *_JOINS):
        return None
    given = arguments(node)
    parts = [part for part in given["tensors"] if not is_empty_part(part, node)]
    if (len(parts) < len(given["tensors"]) and parts) or node.target is not aten.cat.default:
        parts = parts or list(given["tensors"])
        dtype = node.meta["val"].dtype
        if all(part.meta["val"].dtype != dtype for part in parts):  # an empty tensor counts in type promotion
            cast = editor.call(aten._to_copy.default, (parts[0],), before=node, kwargs={"dtype": dtype})
            cast.meta["val"] = parts[0].meta["val"].to(dtype)
            parts[0] = cast
        node.target, node.args, node.kwargs = aten.cat.default, (parts, given["dim"]), {}
        editor.changed += 1
    alone = parts[0] if len(parts) == 1 else None
    return alone if alone is not None and alone.meta["val"].dtype == node.meta["val"].dtype else None


def _copied(editor: Editor, node: fx.Node) -> fx.Node | None:
    """copy(x, y) is y in the dtype and shape of x."""
    if not is_op(node, aten.copy.default):
        return None
    source, result = node.args[1], node.meta["val"]
    assert isinstance(source, fx.Node)
    given = source.meta["val"]
    same = same_shape(given.shape, result.shape)
    sizes: Any = [] if same else editor.sizes(result.shape)
    if sizes is None:
        return None
    if given.dtype != result.dtype:
        source = editor.call(aten._to_copy.default, (source,), before=node, kwargs={"dtype": result.dtype})
        source.meta["val"] = given.to(result.dtype)
    return source if same else editor.call(aten.expand.default, (source, sizes), before=node)


def swapped_axes(node: Any) -> tuple[int, int] | None:
    """The two axes that ``node`` exchanges, ascending, or None when it is not a transpose of two axes."""
    if is_op(node, aten.transpose.int):
        rank = len(shape(node))
        first, second = sorted((node.args[1] % rank, node.args[2] % rank))
        return first, second
    if is_op(node, aten.permute.default):
        order = [axis % len(node.args[1]) for axis in node.args[1]]
        moved = [axis for axis, source in enumerate(order) if axis != source]
        return (moved[0], moved[1]) if len(moved) == 2 else None
    return None


def _double_swap(node: fx.Node) -> fx.Node | None:
    axes = swapped_axes(node)
    if axes is not None and swapped_axes(node.args[0]) == axes:
        return node.args[0].args[0]
    return None


def _skip_reshape(editor: Editor, node: fx.Node) -> None:
    """reshape(reshape(x)) -> reshape(x), or x where the shape is that of x again."""
    if facts_of(node).moves != "reshape" or facts_of(node.args[0]).moves != "reshape":
        return
    inner: Any = node.args[0]
    root = inner.args[0]
    assert isinstance(root, fx.Node)
    if same_shape(shape(root), shape(node)):
        editor.replace(node, root)
    elif is_op(node, aten.reshape.default):
        node.update_arg(0, root)
        editor.changed += 1


def _skip_expand(editor: Editor, node: fx.Node) -> None:
    """add(x, expand(y)) -> add(x, y) where x alone has the shape of the result."""
    if not is_op(node, *_BROADCASTING):
        return
    for position, operand in enumerate(node.args[:2]):
        other, value = tensor(node.args[1 - position]), tensor(operand)
        if other is None or value is None or other.dtype != value.dtype:
            continue  # Without the expand, a tensor of rank 0 would count less in type promotion.
        if is_op(operand, aten.expand.default) and same_shape(other.shape, shape(node)):
            node.update_arg(position, operand.args[0])
            editor.changed += 1
            return


def _canonical_size(editor: Editor, node: fx.Node) -> None:
    size = node.meta["val"]
    if is_static(size):
        for user in list(node.users):
            user.args = fx.map_arg(user.args, lambda arg: size if arg is node else arg)
            user.kwargs = fx.map_arg(user.kwargs, lambda arg: size if arg is node else arg)
        editor.changed += 1
        return
    nodes = editor.sizes([size])
    if nodes is not None and nodes[0] is not node:
        editor.replace(node, nodes[0])
