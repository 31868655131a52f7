"""Have a kernel write the words of narrow numbers that the next one reads."""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape
from l0compile.ir.ops.words import features_of
from l0compile.ir.program import Program

l0 = torch.ops.l0compile

_LINEAR = (l0.packed_bfloat16_linear.default, l0.packed_int8_linear.default)
_ROWS = l0.rows_int8_linear.default
_ATTENTION = (l0.packed_attention.default,)
_CONVOLUTIONS = (l0.packed_int8_conv2d.default,)
_NORMS = {
    l0.packed_layer_norm.default: l0.packed_layer_norm_words.default,
    l0.packed_rms_norm.default: l0.packed_rms_norm_words.default,
}


@dataclass(frozen=True)
class _WordRequest:
    """What an operator that makes words of float32 numbers asks for: arguments of the operator before, and its unit."""

    arguments: dict[str, Any]
    features: int


def fuse_words(program: Program) -> Program:
    """Let the operator before round its results.

    Rewrite: quantize(f(x)) -> f(x, inverse, zero_point), for a layer or a convolution of narrow numbers, attention or a
        norm f, and likewise rounding to bfloat16, to words of features or, of a layer, of tokens. Where others read the
        norm, one operator gives its numbers and its words. On rows likewise, of a layer of integers.
    Checks: nothing else reads f, but for a norm; a packed layer has no residual; features are whole words, as are the
        rows of a block and the features of a head. A norm gives one kind of words: its first reader's.
    Returns: the program, itself when nothing is rounded behind such an operator.
    """
    editor = Editor(program)
    order = {node: position for position, node in enumerate(editor.graph.nodes)}
    for node in list(editor.graph.nodes):
        words = _asked(node)
        if words is None:
            continue
        source = node.args[0]
        if is_op(source, *_NORMS):
            _fuse_norm(editor, node, source, words, order)
        elif _able(source, words):
            _fuse(editor, node, source, words)
    return editor.finish()


def _asked(node: fx.Node) -> _WordRequest | None:
    if is_op(node, l0.packed_quantize.default, l0.quantize_planes.default, l0.rows_quantize.default):
        given = arguments(node)
        return _WordRequest(
            {name: given[name] for name in ("inverse", "zero_point")}, features_of(torch.int8)
        )
    if is_op(node, l0.packed_bfloat16.default):
        return _WordRequest({"pairs": "features"}, features_of(torch.bfloat16))
    if is_op(node, l0.packed_token_pairs.default):
        return _WordRequest({"pairs": "tokens"}, 1)
    return None


def _able(source: Any, words: _WordRequest) -> bool:
    if is_op(source, _ROWS):
        free = len(source.users) == 1 and arguments(source)["inverse"] is None
        return free and arguments(source)["n"] % words.features == 0
    if not is_op(source, *_LINEAR, *_ATTENTION, *_CONVOLUTIONS) or len(source.users) != 1:
        return False
    given = arguments(source)
    if given["inverse"] is not None or given.get("pairs"):
        return False
    if is_op(source, *_ATTENTION):
        head = int(shape(source)[1]) // given["heads"]
        return words.arguments.get("pairs") != "tokens" and head % words.features == 0
    rows = int(shape(given["data"])[2])
    # A convolution adds its residual before its activation, a layer behind it.
    free = given["residual"] is None or is_op(source, *_CONVOLUTIONS)
    return free and rows % words.features == 0 and given["n"] % rows == 0


def _fuse(editor: Editor, node: fx.Node, source: fx.Node, words: _WordRequest) -> None:
    given = arguments(source) | words.arguments
    # It takes the place of the reader, where the scales exist too.
    fused = editor.call(source.target, tuple(given.values()), before=node, origin=source)
    editor.replace(node, fused)
    editor.graph.erase_node(source)


def _fuse_norm(
    editor: Editor, node: fx.Node, norm: fx.Node, words: _WordRequest, order: dict[fx.Node, int]
) -> None:
    if words.arguments.get("pairs") == "tokens" or int(shape(norm)[1]) % words.features:
        return
    if len(norm.users) == 1:
        _fuse(editor, node, norm, words)
        return
    given = arguments(norm) | words.arguments
    inverse = given["inverse"]
    if inverse is not None and order.get(inverse, -1) > order[norm]:
        norm.prepend(inverse)  # a constant; whoever reads it comes later still
    target = _NORMS[norm.target]
    args = tuple(given[argument.name] for argument in target._schema.arguments)
    both = editor.call(target, args, before=norm, origin=norm)
    numbers, rounded = (
        editor.call(operator.getitem, (both, place), before=norm, origin=norm) for place in range(2)
    )
    editor.replace(node, rounded)
    editor.replace(norm, numbers)
