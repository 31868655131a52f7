"""Values in the tokens-in-lanes layout: which exist there, and how the others get there and back."""

from math import prod
from typing import Any

import torch
from torch import fx

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import follower, is_op, same_shape, shape
from l0compile.rewrite.size_nodes import SizeNodes

aten, l0 = torch.ops.aten, torch.ops.l0compile


class Packing:
    """The values that exist packed, and the constants and masks that several layers share."""

    def __init__(self, editor: Editor, lanes: int, rows: int) -> None:
        self.editor, self.lanes, self.rows = editor, lanes, rows
        self.sizes = SizeNodes(editor)
        self.packed: dict[fx.Node, fx.Node] = {}
        self.made: dict[fx.Node, fx.Node] = {}  # pack nodes inserted for a value in rows
        self.masks: dict[tuple[Any, ...], fx.Node] = {}  # attention masks, by mask and sizes
        self.expanded: dict[tuple[Any, ...], fx.Node] = {}  # tables of one batch entry, repeated for all
        self.words: dict[tuple[Any, ...], fx.Node] = {}  # quantised values, by value and scales
        self.weights: dict[str, fx.Node] = {}  # dense weights as blocks; tied layers share theirs

    def unpack_rest(self) -> None:
        """Unpack each packed value for its readers that take rows."""
        for node, packed in self.packed.items():
            readers = [user for user in node.users if user not in self.packed]
            if readers:
                args = packed, self.sizes.shape(shape(node)[:-1])
                rows = self.editor.call(l0.unpack.default, args, before=follower(packed), origin=node)
                for user in readers:
                    user.replace_input_with(node, rows)

    def pack(self, value: fx.Node, before: fx.Node) -> fx.Node:
        """The packed form of a value; ``before`` is the node that wants it."""
        if value in self.packed:
            return self.packed[value]
        if value not in self.made:
            # Directly behind the value, so that the one pack node is above all readers.
            args, anchor = (value, self.lanes), follower(value)
            self.made[value] = self.editor.call(l0.pack.default, args, before=anchor, origin=before)
        return self.made[value]

    def narrow(self, value: fx.Node, before: fx.Node) -> fx.Node:
        """The packed form of a value in words of bfloat16 numbers; its readers share it."""
        key = (value,)
        if key not in self.words:
            args = (self.pack(value, before), self.tokens(value))
            self.words[key] = self.editor.call(l0.packed_bfloat16.default, args, before=before)
        return self.words[key]

    def token_pairs(self, value: fx.Node, before: fx.Node) -> fx.Node:
        """The packed form of a value in words of the bfloat16 numbers of two tokens."""
        args = (self.pack(value, before), self.tokens(value))
        return self.editor.call(l0.packed_token_pairs.default, args, before=before)

    def quantized(self, value: fx.Node) -> fx.Node | None:
        """The packed form of a result of ``l0compile::quantize``; readers with the same scales share it."""
        if not is_op(value, l0.quantize.default) or not packable(value.args[0]):
            return None
        x, given, zero_point = value.args
        inverse = self.editor.value(given)
        if inverse is None:
            return None
        inverse = inverse.expand(shape(x)[-1]).contiguous()
        key = (x, zero_point, *inverse.tolist())
        if key not in self.words:
            scales = self.editor.add_constant(f"{given.target}_packed", inverse, value)
            args = (self.pack(x, value), scales, zero_point, self.tokens(x))
            self.words[key] = self.editor.call(l0.packed_quantize.default, args, before=value)
        return self.words[key]

    def tokens(self, value: fx.Node) -> Any:
        """The number of tokens of a value, or the node that computes it; None where input sizes do not tell."""
        try:
            return self.sizes.of(prod(shape(value)[:-1]))
        except RewriteError:
            return None  # all of the last tile is computed then

    def constants(self, *nodes: Any) -> bool:
        """Whether all nodes that are not None are constants."""
        return all(node is None or self.editor.value(node) is not None for node in nodes)

    def pack_mask(self, mask: fx.Node, sizes: list[Any], before: fx.Node) -> fx.Node:
        """The mask with queries in lanes; layers with the same mask share the result."""
        key = (mask, *sizes)
        if key not in self.masks:
            args = (mask, *sizes, self.lanes)
            self.masks[key] = self.editor.call(l0.pack_mask.default, args, before=before)
        return self.masks[key]

    def for_every_sequence(self, table: fx.Node, x: fx.Node, before: fx.Node) -> fx.Node:
        """[B or 1, S, D] -> [B, S, D]: each packed token has its own row. Layers with one table share the result."""
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
