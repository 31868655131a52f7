"""Values in the tokens-in-lanes layout: which exist, and how the others get there and back."""

from math import prod
from typing import Any

import torch
from torch import fx

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import follower, same_shape, shape
from l0compile.rewrite.size_nodes import SizeNodes

aten, l0 = torch.ops.aten, torch.ops.l0compile


class Packing:
    """Which values exist packed, and the packed form of each; what is packed once for all its readers."""

    def __init__(self, editor: Editor, lanes: int, rows: int) -> None:
        self.editor, self.lanes, self.rows = editor, lanes, rows
        self.sizes = SizeNodes(editor)
        self.packed: dict[fx.Node, fx.Node] = {}
        self.made: dict[fx.Node, fx.Node] = {}  # pack nodes inserted for a value in rows
        self.masks: dict[tuple[Any, ...], fx.Node] = {}  # attention masks, by mask and sizes
        self.expanded: dict[tuple[Any, ...], fx.Node] = {}  # tables of one batch entry, repeated for all
        self.weights: dict[str, fx.Node] = {}  # dense weights as blocks; tied layers share theirs

    def unpack_rest(self) -> None:
        """Give every reader in rows of a packed value its rows back."""
        for node, packed in self.packed.items():
            readers = [user for user in node.users if user not in self.packed]
            if readers:
                args = packed, self.sizes.shape(shape(node)[:-1])
                rows = self.editor.call(l0.unpack.default, args, before=follower(packed), origin=node)
                for user in readers:
                    user.replace_input_with(node, rows)

    def pack(self, value: fx.Node, before: fx.Node) -> fx.Node:
        """The packed form of a value; ``before``: the node that wants it, for its origin."""
        if value in self.packed:
            return self.packed[value]
        if value not in self.made:
            # Right behind the value, so that later readers find the one pack node above them.
            args, anchor = (value, self.lanes), follower(value)
            self.made[value] = self.editor.call(l0.pack.default, args, before=anchor, origin=before)
        return self.made[value]

    def tokens(self, value: fx.Node) -> Any:
        """How many tokens a value has: a number, or the node of one; None where no dimension of an input tells."""
        try:
            return self.sizes.of(prod(shape(value)[:-1]))
        except RewriteError:
            return None  # the whole last tile is computed then

    def constants(self, *nodes: Any) -> bool:
        """Whether all nodes that are there are constants."""
        return all(node is None or self.editor.value(node) is not None for node in nodes)

    def pack_mask(self, mask: fx.Node, sizes: list[Any], before: fx.Node) -> fx.Node:
        """The mask with queries in lanes; layers that share a mask share the result."""
        key = (mask, *sizes)
        if key not in self.masks:
            args = (mask, *sizes, self.lanes)
            self.masks[key] = self.editor.call(l0.pack_mask.default, args, before=before)
        return self.masks[key]

    def for_every_sequence(self, table: fx.Node, x: fx.Node, before: fx.Node) -> fx.Node:
        """[B or 1, S, D] -> [B, S, D]: packed, each token has its own; layers that share a table share the result."""
        sizes = [*shape(x)[:2], shape(table)[2]]
        if same_shape(shape(table), sizes):
            return table
        key = (table, *self.sizes.shape(sizes))
        if key not in self.expanded:
            args = (table, list(key[1:]))
            self.expanded[key] = self.editor.call(aten.expand.default, args, before=before)
        return self.expanded[key]


def packable(node: Any) -> bool:
    """Whether a value can be packed: float32, with a last axis of known size and tokens before it."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.ndim < 2:
        return False
    return isinstance(value.shape[-1], int) and value.shape[-1] > 0
