"""Shrink operators whose operands lose channels: adapt the sizes and bounds that are written into them.

Most operators need nothing: their operands are smaller, and so is their result.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling import KeptChannels
from l0compile.analysis.coupling.axes import extent, single_values
from l0compile.analysis.liveness import Liveness
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_static, operand_of, shape, slice_bounds, tensor

aten = torch.ops.aten


@dataclass
class Cutter:
    """A compaction in progress: the edited graph, which has its old shapes, and the channels that each axis keeps."""

    editor: Editor
    kept: KeptChannels
    liveness: Liveness
    # new node -> the node whose readers it got
    replaced: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def original(self, node: fx.Node) -> fx.Node:
        """The analysed node that ``node`` stands for."""
        return self.replaced.get(node, node)

    def replace(self, node: fx.Node, value: fx.Node, inside: fx.Node) -> None:
        """Let the readers of ``node``, apart from ``inside``, read ``value``, which is computed from it."""
        node.replace_all_uses_with(value, delete_user_cb=lambda user: user is not inside)
        value.meta["val"] = node.meta["val"]
        self.replaced[value] = self.original(node)

    def masks(self, node: fx.Node) -> dict[int, Tensor]:
        """TensorAxis -> bool mask, for the axes of a tensor that lose channels."""
        node = self.original(node)
        if tensor(node) is None:
            return {}
        cuts = {axis: self.kept.cut(node, axis) for axis in range(len(shape(node)))}
        return {axis: mask for axis, mask in cuts.items() if mask is not None}

    def touches(self, node: fx.Node) -> bool:
        """Whether an operator's result or any operand loses channels."""
        return any(self.masks(other) for other in (node, *node.all_input_nodes))

    def removed(self, node: fx.Node, axis: int) -> Tensor:
        """[n]: the constant of each removed channel of an axis; 0 for the others and for those that nothing reads."""
        position = axis % len(shape(node))
        mask, size = self.masks(node).get(position), extent((node, position))
        fact = self.liveness.facts.get(self.original(node))
        if mask is None or fact is None:
            return torch.zeros(size)
        _, value = single_values(fact, position, size)
        return torch.where(mask, torch.zeros((), dtype=value.dtype), value)

    def count(self, node: fx.Node, axis: int, size: Any) -> Any:
        """The size to write for an axis whose size is given as ``size``: the channels that stay, if it loses any."""
        kept = self.kept.size(self.original(node), axis)
        return kept if kept is not None and is_static(size) and size != -1 else size

    def replace_constant(self, node: fx.Node, value: Tensor) -> None:
        """Give a constant operand another value of the same shape; it is cut afterwards, like any other."""
        created = self.editor.add_constant(str(node.target), value, node)
        node.target = created.target
        self.editor.graph.erase_node(created)

    def add_parameter(self, name: str, value: Tensor, before: fx.Node, like: fx.Node, axis: int) -> fx.Node:
        """A new constant whose last axis has lost the channels that ``axis`` of ``like`` loses."""
        mask = self.masks(like).get(axis % len(shape(like)))
        return self.editor.add_constant(name, value if mask is None else value[..., mask], before)


Shrink = Callable[[Cutter, fx.Node], None]

_TABLE: dict[Any, Shrink] = {}


def register(*targets: Any, change: Shrink) -> None:
    """Add operators that have to change when channels of their operands go."""
    _TABLE.update(dict.fromkeys(targets, change))


def shrink(cutter: Cutter, node: fx.Node) -> None:
    """Change one operator in place so that it fits its smaller operands."""
    change = _TABLE.get(node.target)
    if change is not None:
        change(cutter, node)
        cutter.editor.changed += 1


def _sizes(position: int) -> Shrink:
    """For operators with the sizes of the result in argument ``position``."""

    def change(cutter: Cutter, node: fx.Node) -> None:
        sizes: Any = node.args[position]
        node.update_arg(position, [cutter.count(node, axis, size) for axis, size in enumerate(sizes)])

    return change


def _expand(cutter: Cutter, node: fx.Node) -> None:
    sizes: Any = node.args[1]
    lead = len(shape(node)) - len(sizes)
    node.update_arg(1, [cutter.count(node, lead + axis, size) for axis, size in enumerate(sizes)])


def _unflatten(cutter: Cutter, node: fx.Node) -> None:
    sizes: Any = node.args[2]
    start = int(arguments(node)["dim"]) % len(shape(node.args[0]))
    node.update_arg(2, [cutter.count(node, start + axis, size) for axis, size in enumerate(sizes)])


def _squeeze(cutter: Cutter, node: fx.Node) -> None:
    """Squeeze only the axes that had size 1 before; a compacted axis may have it now."""
    source = node.args[0]
    dims = arguments(node).get("dim", list(range(len(shape(source)))))
    axes = [dim % len(shape(source)) for dim in (dims if isinstance(dims, (list, tuple)) else [dims])]
    # A symbolic size is not squeezed by export either, unless it is provably 1.
    ones = [axis for axis in axes if is_static(shape(source)[axis]) and shape(source)[axis] == 1]
    node.target, node.args = aten.squeeze.dims, (source, ones)


def _slice(cutter: Cutter, node: fx.Node) -> None:
    x, bounds = operand_of(node), slice_bounds(node)
    mask = None if bounds is None else cutter.masks(x).get(bounds[0])
    if bounds is not None and mask is not None:
        axis, first, last, _ = bounds
        kept = int(mask[:first].sum())
        node.args = (x, axis, kept, kept + int(mask[first:last].sum()), 1)


def _select(cutter: Cutter, node: fx.Node) -> None:
    given = arguments(node)
    x = given["self"]
    axis = int(given["dim"]) % len(shape(x))
    mask = cutter.masks(x).get(axis)
    if mask is not None:
        index = int(given["index"]) % len(mask)
        node.args = (x, axis, int(mask[:index].sum()))


def _index_select(cutter: Cutter, node: fx.Node) -> None:
    """Renumber the channels that stay."""
    given = arguments(node)
    x, index = given["self"], given["index"]
    axis = int(given["dim"]) % len(shape(x))
    kept, result, order = cutter.masks(x).get(axis), cutter.masks(node).get(axis), cutter.editor.value(index)
    if order is None or (kept is None and result is None):
        return
    order = order.reshape(-1) if result is None else order.reshape(-1)[result]
    if kept is not None:
        order = (kept.cumsum(0) - 1).to(order.dtype)[order]
    created = cutter.editor.add_constant(str(index.target), order, node)
    node.args = (x, axis, created)


register(
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.new_zeros.default, aten.new_ones.default,
    aten.new_full.default, aten.new_empty.default, change=_sizes(1),
)  # fmt: skip
register(aten.zeros.default, aten.ones.default, aten.full.default, change=_sizes(0))
register(aten.expand.default, change=_expand)
register(aten.unflatten.int, change=_unflatten)
register(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, change=_squeeze)
register(aten.slice.Tensor, change=_slice)
register(aten.index_select.default, change=_index_select)
register(aten.select.int, change=_select)
