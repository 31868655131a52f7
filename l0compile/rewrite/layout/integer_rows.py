"""Give layers of 8-bit integers the operators that kernels of a GPU take: words of four features, in rows."""

import math
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, example_size, is_op, is_static, shape, tensor
from l0compile.ir.ops.bsr import heaviest_first
from l0compile.ir.ops.rows.integers import chunk_blocks, row_starts
from l0compile.ir.ops.words import from_word_blocks, to_words
from l0compile.ir.program import Program
from l0compile.rewrite.layout.patches import patches_of, tiles_image
from l0compile.rewrite.size_nodes import SizeNodes

aten, l0 = torch.ops.aten, torch.ops.l0compile

_CHUNK_WORDS, _CHUNK_ROWS = 4, 16


def integer_rows(program: Program) -> Program:
    """Give layers of 8-bit integers the operators that kernels of a GPU take.

    Rewrite: int8_linear(quantize(x), W) -> rows_int8_linear(rows_quantize(x), W in words), and likewise
        int8_bsr_linear, its blocks in chunks of 16 columns; int8_conv2d(quantize(x), W) whose windows tile the image ->
        the same of patches of x. Readers of one quantize share its words. ``start`` of each row makes up for the zero
        point: the sum of its stored weights, times -zero_point.
    Checks: weights and scales are constants; 32 bits hold the sums, whatever the activations are. A weight whose blocks
        are not whole chunks of 16 rows becomes dense.

    Returns:
        The program, itself when it has no such layer.
    """
    pass_ = _IntegerRows(Editor(program))
    rules = {
        l0.int8_linear.default: pass_.dense,
        l0.int8_bsr_linear.default: pass_.sparse,
        l0.int8_conv2d.default: pass_.patches,
    }
    for node in list(pass_.editor.graph.nodes):
        rule = rules.get(node.target) if node.op == "call_function" else None
        made = rule(node) if rule is not None else None
        if made is not None:
            pass_.editor.replace(node, made)
    return pass_.editor.finish()


class _IntegerRows:
    """The editor, and what layers share."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.sizes = editor, SizeNodes(editor)
        self.words: dict[fx.Node, fx.Node] = {}  # a result of quantize -> the same in words

    def dense(self, node: fx.Node) -> fx.Node | None:
        given = arguments(node)
        weight = self.editor.value(given["weight"])
        x = None if weight is None else self._quantized(given["x"])
        return None if x is None or weight is None else self._layer(node, x, given, weight)

    def sparse(self, node: fx.Node) -> fx.Node | None:
        given = arguments(node)
        data, indices, indptr = (self.editor.value(given[name]) for name in ("data", "indices", "indptr"))
        if data is None or indices is None or indptr is None:
            return None
        weight = from_word_blocks(data, indices, indptr, given["n"], given["k"], torch.int8)
        if data.shape[1] % _CHUNK_WORDS or data.shape[2] % _CHUNK_ROWS:
            given |= {"indices": None, "indptr": None}
        x = self._quantized(given["x"])
        return None if x is None else self._layer(node, x, given, weight)

    def patches(self, node: fx.Node) -> fx.Node | None:
        given = arguments(node)
        weight, q = self.editor.value(given["weight"]), given["x"]
        if weight is None or not is_op(q, l0.quantize.default):
            return None
        x, scales, zero_point = q.args
        steps = (list(given[name]) for name in ("stride", "padding", "dilation"))
        inverse = self.editor.value(scales)
        if inverse is None or not tiles_image(tensor(x), list(weight.shape[2:]), *steps):
            return None
        if self._starts(given, weight.flatten(1)) is None or given.get("groups", 1) != 1:
            return None
        cut = patches_of(self.editor, self.sizes, x, weight, node)
        each = inverse.expand(weight.shape[1:]).flatten()
        words = self._rounded(cut, each, str(scales.target), zero_point, node)
        made = self._layer(node, words, given, weight.flatten(1))
        return (
            None
            if made is None
            else self.editor.call(aten.permute.default, (made, [0, 3, 1, 2]), before=node)
        )

    def _layer(
        self, node: fx.Node, x: fx.Node, given: dict[str, Any], weight: torch.Tensor
    ) -> fx.Node | None:
        start = self._starts(given, weight)
        if start is None:
            return None
        stem, editor = str(given["weight" if "weight" in given else "data"].target), self.editor
        indices, indptr, order = given.get("indices"), given.get("indptr"), None
        if indptr is None:
            data = editor.add_constant(f"{stem}_words", to_words(weight), node)
        else:
            blocks, starts = editor.value(given["data"]), editor.value(indptr)
            assert blocks is not None and starts is not None
            data = editor.add_constant(f"{stem}_chunks", chunk_blocks(blocks), node)
            order = editor.add_constant(f"{indptr.target}_order", heaviest_first(starts), node)
        begins = editor.add_constant(f"{stem}_start", start, node)
        rows = math.prod(map(example_size, shape(node))) // weight.shape[0]
        args = (x, data, indices, indptr, order, begins, given["scale"], given["bias"], None, None)
        return editor.call(
            l0.rows_int8_linear.default, (*args, int(weight.shape[0]), rows, ""), before=node, origin=node
        )

    def _starts(self, given: dict[str, Any], weight: torch.Tensor) -> torch.Tensor | None:
        """What sums begin with; None also where something is no constant."""
        more = given.get("start")
        others = (given["scale"], given["bias"], more)
        if any(other is not None and self.editor.value(other) is None for other in others):
            return None
        return row_starts(weight, given["zero_point"], self.editor.value(more))

    def _quantized(self, q: Any) -> fx.Node | None:
        """The words of a result of quantize over the last axis."""
        if not is_op(q, l0.quantize.default):
            return None
        if q not in self.words:
            x, scales, zero_point = q.args
            inverse, features = self.editor.value(scales), shape(x)[-1]
            value = tensor(x)
            if inverse is None or inverse.ndim != 1 or not is_static(features) or value is None:
                return None
            if value.dtype != torch.float32:
                return None
            each = inverse.expand(int(features))
            self.words[q] = self._rounded(x, each, str(scales.target), zero_point, q)
        return self.words[q]

    def _rounded(
        self, x: fx.Node, inverse: torch.Tensor, name: str, zero_point: int, before: fx.Node
    ) -> fx.Node:
        scales = self.editor.add_constant(f"{name}_each", inverse, before)
        return self.editor.call(l0.rows_quantize.default, (x, scales, zero_point), before=before)
