"""Give operators that treat each token alike the tokens-in-lanes layout."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, same_shape, shape
from l0compile.ir.operator_facts import operators
from l0compile.ir.ops.activation import ACTIVATION_OPERATORS
from l0compile.ir.ops.bsr import dense_blocks
from l0compile.ir.ops.words import dense_word_blocks, features_of, from_word_blocks
from l0compile.ir.program import Program
from l0compile.rewrite.layout.listed_keys import packed_block_attention
from l0compile.rewrite.layout.packing import Packing, packable

aten, l0 = torch.ops.aten, torch.ops.l0compile

# Elementwise operators run on packed tensors as they are.
_UNARY = (
    *ACTIVATION_OPERATORS, aten.neg.default, aten.exp.default, aten.abs.default, l0.round_bfloat16.default,
)  # fmt: skip
_BINARY = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
_RESHAPES = operators(moves="reshape")
_COMPACTED = {
    l0.compacted_layer_norm.default: l0.packed_layer_norm.default,
    l0.compacted_rms_norm.default: l0.packed_rms_norm.default,
}


def pack_tokens(program: Program, lanes: int, rows: int) -> Program:
    """Give operators that treat each token alike the tokens-in-lanes layout, packing only where such a part begins.

    Rewrite: linear(x) -> unpack(packed_linear(pack(x))), likewise attention, norms and layers of narrow numbers;
        pack(unpack(y)) -> y, and
        elementwise operators between packed values run packed.
    Checks: float32, a static last axis, constant weights; tokens keep their flattened order through a reshape.
        Whatever does not fit stays in rows.

    Args:
        program: with one way to store each weight.
        lanes: tokens of a tile.
        rows: block rows that dense weights are stored with, which is the height of the microkernel.

    Returns:
        The program with ``l0compile::pack`` and ``unpack`` only at the edges of packed parts.
    """
    pass_ = _TokenLayout(Editor(program), lanes, rows)
    for node in list(pass_.editor.graph.nodes):
        if node.op == "call_function":
            pass_.visit(node)
    pass_.unpack_rest()
    return pass_.editor.finish()


class _TokenLayout(Packing):
    """The rule of each operator: its packed form, or None where it stays in rows."""

    def __init__(self, editor: Editor, lanes: int, rows: int) -> None:
        super().__init__(editor, lanes, rows)
        self.rules: dict[Any, Callable[[fx.Node], fx.Node | None]] = {
            aten.linear.default: self._linear,
            l0.bsr_linear.default: self._bsr_linear,
            l0.int8_linear.default: self._int8_linear,
            l0.int8_bsr_linear.default: self._int8_bsr_linear,
            l0.bfloat16_linear.default: self._bfloat16_linear,
            l0.bfloat16_bsr_linear.default: self._bfloat16_bsr_linear,
            l0.attention.default: self._attention,
            l0.block_attention.default: partial(packed_block_attention, self),
            l0.rope.default: self._rope,
            aten.layer_norm.default: self._layer_norm,
            aten.rms_norm.default: self._rms_norm,
            **dict.fromkeys(_COMPACTED, self._compacted_norm),
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys(_BINARY, self._binary),
            aten.amax.default: self._largest,
            **dict.fromkeys(_RESHAPES, self._reshape),
        }

    def visit(self, node: fx.Node) -> None:
        rule = self.rules.get(node.target)
        if rule is None or not packable(node):
            return
        result = rule(node)
        if result is not None:
            self.packed[node] = result
            self.editor.changed += 1

    def _linear(self, node: fx.Node) -> fx.Node | None:
        x, weight_node, bias = (*node.args, None)[:3]
        weight = self.editor.value(weight_node)
        if weight is None or weight.ndim != 2 or not self.constants(bias) or not packable(x):
            return None
        name = str(weight_node.target)
        if name not in self.weights:
            blocks = dense_blocks(weight, self.rows)
            self.weights[name] = self.editor.add_constant(f"{name}_packed", blocks, node)
        args = (
            self.pack(x, node),
            self.weights[name],
            None,
            None,
            bias,
            None,
            weight.shape[0],
            "",
            self.tokens(x),
        )
        return self.editor.call(l0.packed_linear.default, args, before=node)

    def _bsr_linear(self, node: fx.Node) -> fx.Node | None:
        x, data, indices, indptr, bias, n, _ = node.args
        if not self.constants(data, indices, indptr, bias) or not packable(x):
            return None
        args = (self.pack(x, node), data, indices, indptr, bias, None, n, "", self.tokens(x))
        return self.editor.call(l0.packed_linear.default, args, before=node)

    def _int8_linear(self, node: fx.Node) -> fx.Node | None:
        x, weight_node, scale, bias, zero_point, start = arguments(node).values()
        weight = self.editor.value(weight_node)
        if weight is None or not self.constants(scale, bias, start):
            return None
        blocks = dense_word_blocks(weight, self.rows)
        data = self.editor.add_constant(f"{weight_node.target}_words", blocks, node)
        return self._integers(node, (x, data, None, None, scale, bias), weight, zero_point, start)

    def _int8_bsr_linear(self, node: fx.Node) -> fx.Node | None:
        x, data, indices, indptr, scale, bias, zero_point, n, k, start = arguments(node).values()
        if not self.constants(data, indices, indptr, scale, bias, start):
            return None
        blocks: list[Any] = [self.editor.value(part) for part in (data, indices, indptr)]
        weight = from_word_blocks(blocks[0], blocks[1], blocks[2], n, k, torch.int8)
        return self._integers(node, (x, data, indices, indptr, scale, bias), weight, zero_point, start)

    def _integers(
        self, node: fx.Node, operands: tuple[Any, ...], weight: torch.Tensor, zero_point: int, start: Any
    ) -> fx.Node | None:
        x, data, indices, indptr, scale, bias = operands
        words = self.quantized(x)
        if words is None:
            return None
        first = (-zero_point * weight.int().sum(1)).to(torch.int32)
        if (removed := self.editor.value(start)) is not None:
            first = first + removed
        begins = self.editor.add_constant(f"{data.target}_start", first, node)
        epilogue = (None, None, int(weight.shape[0]), "", 0, self.tokens(x))
        args = (words, data, indices, indptr, begins, scale, bias, *epilogue)
        return self.editor.call(l0.packed_int8_linear.default, args, before=node)

    def _bfloat16_linear(self, node: fx.Node) -> fx.Node | None:
        x, weight_node, bias = node.args
        weight = self.editor.value(weight_node)
        if weight is None or not self.constants(bias) or not packable(x):
            return None
        blocks = dense_word_blocks(weight, self.rows)
        data = self.editor.add_constant(f"{weight_node.target}_words", blocks, node)
        args = (self.narrow(x, node), data, None, None, bias, None, int(weight.shape[0]), "", self.tokens(x))
        return self.editor.call(l0.packed_bfloat16_linear.default, args, before=node)

    def _bfloat16_bsr_linear(self, node: fx.Node) -> fx.Node | None:
        x, data, indices, indptr, bias, n, _ = node.args
        if not self.constants(data, indices, indptr, bias) or not packable(x):
            return None
        args = (self.narrow(x, node), data, indices, indptr, bias, None, n, "", self.tokens(x))
        return self.editor.call(l0.packed_bfloat16_linear.default, args, before=node)

    def _attention(self, node: fx.Node) -> fx.Node | None:
        q, k, v, mask, heads, scale, before, after, numbers = (*node.args, "float32")[:9]
        softcap = arguments(node)["softcap"]
        pairs = numbers == "bfloat16"
        if not all(packable(t) for t in (q, k, v)) or (
            pairs and shape(q)[-1] // heads % features_of(torch.bfloat16)
        ):
            return None
        sizes = [self.sizes.of(s) for s in (*shape(q)[:2], shape(k)[1])]
        packed = [self.pack(t, node) for t in (q, k, v)]
        if pairs:
            packed[1:] = self.narrow(k, node), self.token_pairs(v, node)
        bias = None
        if mask is not None and not _one_for_all_queries(mask):
            mask, bias = None, self.pack_mask(mask, sizes, node)
        args = (*packed, mask, bias, *sizes, heads, scale, before, after, numbers, None, 0, "", softcap)
        return self.editor.call(l0.packed_attention.default, args, before=node)

    def _rope(self, node: fx.Node) -> fx.Node | None:
        x, cos, sin, heads, interleaved = (*node.args, False)[:5]
        if not all(packable(t) for t in (x, cos, sin)):
            return None
        tables = [self.pack(self.for_every_sequence(table, x, node), node) for table in (cos, sin)]
        args = (self.pack(x, node), *tables, heads, self.tokens(x), interleaved)
        return self.editor.call(l0.packed_rope.default, args, before=node)

    def _layer_norm(self, node: fx.Node) -> fx.Node | None:
        x, shape, weight, bias, eps = (*node.args, *(None, None, 1e-5)[len(node.args) - 2 :])[:5]
        if len(shape) != 1 or not self.constants(weight, bias) or not packable(x):
            return None
        args = (self.pack(x, node), weight, bias, eps, shape[0], 0.0, 0.0, self.tokens(x))
        return self.editor.call(l0.packed_layer_norm.default, args, before=node)

    def _rms_norm(self, node: fx.Node) -> fx.Node | None:
        given = arguments(node)
        x, weight, eps = given["input"], given["weight"], given["eps"]
        if len(given["normalized_shape"]) != 1 or not self.constants(weight) or not packable(x):
            return None
        eps = torch.finfo(torch.float32).eps if eps is None else eps  # as torch does
        args = (self.pack(x, node), weight, eps, shape(x)[-1], 0.0, self.tokens(x))
        return self.editor.call(l0.packed_rms_norm.default, args, before=node)

    def _compacted_norm(self, node: fx.Node) -> fx.Node | None:
        """A norm over part of a vector; the packed operator takes the same arguments."""
        x, *rest = node.args
        if not self.constants(*(value for value in rest if isinstance(value, fx.Node))) or not packable(x):
            return None
        return self.editor.call(
            _COMPACTED[node.target], (self.pack(x, node), *rest, self.tokens(x)), before=node
        )

    def _unary(self, node: fx.Node) -> fx.Node | None:
        x = node.args[0]
        if x not in self.packed:
            return None
        return self.editor.call(
            node.target, (self.packed[x], *node.args[1:]), before=node, kwargs=node.kwargs
        )

    def _binary(self, node: fx.Node) -> fx.Node | None:
        if not any(argument in self.packed for argument in node.args[:2]):
            return None
        operands = tuple(self._operand(argument, node) for argument in node.args[:2])
        if None in operands:
            return None
        return self.editor.call(node.target, operands, before=node, kwargs=node.kwargs)

    def _largest(self, node: fx.Node) -> fx.Node | None:
        """The largest feature of each token, which stays a feature."""
        given = arguments(node)
        x, axes = given["self"], [axis % len(shape(given["self"])) for axis in given["dim"]]
        if x not in self.packed or axes != [len(shape(x)) - 1] or not given["keepdim"]:
            return None
        return self.editor.call(aten.amax.default, (self.packed[x], [1], True), before=node)

    def _operand(self, value: Any, node: fx.Node) -> Any:
        """The packed form of an operand: a tensor of the result's shape, a number, or a constant per feature."""
        if not isinstance(value, fx.Node):
            return value if isinstance(value, (int, float)) else None
        if not packable(value):
            return self._per_feature(value, node)
        one_feature = [*shape(node)[:-1], 1]  # of each token, such as its scale
        if same_shape(shape(value), shape(node)) or same_shape(shape(value), one_feature):
            return self.pack(value, node)
        return self._per_feature(value, node)

    def _per_feature(self, value: fx.Node, node: fx.Node) -> fx.Node | None:
        constant, features = self.editor.value(value), shape(node)[-1]
        if constant is None or constant.dtype != torch.float32:
            return None
        if constant.numel() != 1 and (constant.numel(), constant.shape[-1]) != (features, features):
            return None
        return self.editor.add_constant(f"{value.target}_packed", constant.reshape(-1, 1), node)

    def _reshape(self, node: fx.Node) -> fx.Node | None:
        x = node.args[0]
        while x not in self.packed and x.target in _RESHAPES:
            # A reshape of a reshape keeps the order of its first operand, whatever came between.
            x = x.args[0]
        same_features = x in self.packed and shape(x)[-1] == shape(node)[-1]
        return self.packed[x] if same_features else None


def _one_for_all_queries(mask: fx.Node) -> bool:
    sizes = shape(mask)
    return len(sizes) < 2 or (isinstance(sizes[-2], int) and sizes[-2] == 1)
