"""Convolutions of 8-bit integers on planes of words."""

import torch
from torch import Tensor, fx

from l0compile.ir.nodes import arguments
from l0compile.ir.ops.int8_conv import conv_matrix, dense_weight
from l0compile.ir.ops.planes import Planes
from l0compile.ir.ops.quantized import FEATURES
from l0compile.ir.ops.words import dense_word_blocks
from l0compile.rewrite.layout.plane_operands import integer_input
from l0compile.rewrite.layout.plane_packing import PlanePacking, image_size

aten, l0 = torch.ops.aten, torch.ops.l0compile


def integer_convolution(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """A convolution of 8-bit integers with a dense weight."""
    weight_node = arguments(node)["weight"]
    weight = state.editor.value(weight_node)
    if node not in state.windows or weight is None:
        return None
    blocks = dense_word_blocks(conv_matrix(weight), state.rows)
    data = state.editor.add_constant(f"{weight_node.target}_words", blocks, node)
    return _packed(state, node, weight, (data, None, None))


def integer_bsr_convolution(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """A convolution of 8-bit integers whose weight is stored in blocks."""
    if node not in state.windows:
        return None
    given = arguments(node)
    data, indices, indptr = (state.editor.value(given[name]) for name in ("data", "indices", "indptr"))
    if data is None or indices is None or indptr is None or data.shape[1] != 1:
        return None
    weight = dense_weight(data, indices, indptr, given["weight"])
    return _packed(state, node, weight, (given["data"], indices, given["indptr"]))


def _packed(
    state: PlanePacking,
    node: fx.Node,
    weight: Tensor,
    stored: tuple[fx.Node, Tensor | None, fx.Node | None],
) -> fx.Node | None:
    """The packed operator; ``stored``: (data, column of each block, indptr)."""
    read = _read(state, node)
    if read is None:
        return None
    given, (data, columns, indptr), (x, places, source, result) = arguments(node), stored, read
    n, words = int(weight.shape[0]), -(-int(weight.shape[1]) // FEATURES)
    offsets = (torch.arange(words)[:, None] * source.size + torch.tensor(places)).flatten()
    offsets = offsets if columns is None else offsets[columns.long()]
    start = (-given["zero_point"] * weight.int().sum((1, 2, 3))).to(torch.int32)

    def constant(name: str, value: Tensor) -> fx.Node:
        return state.editor.add_constant(f"{data.target}_{name}", value, node)

    # With a bias a residual is added to a rounded number, as in PyTorch; without one both would be rounded once.
    bias = constant("bias", torch.zeros(n)) if given["bias"] is None else given["bias"]
    epilogue = (given["scale"], bias, None, None, n, result.numbers(), "")
    tables = constant("offsets", offsets.to(torch.int32)), indptr, constant("start", start)
    args = (x, data, *tables, *epilogue)
    return state.editor.call(l0.packed_int8_conv2d.default, args, before=node)


def _read(state: PlanePacking, node: fx.Node) -> tuple[fx.Node, list[int], Planes, Planes] | None:
    """(words of the input, place of each tap in them, their layout, layout of the result)."""
    window, result = state.windows[node], state.layouts[state.windows[node].result]
    found = integer_input(state.editor, node)
    if found is None or found[2] != arguments(node)["zero_point"]:
        # What lies around an image is the zero point of the quantised image, and has to count as 0.
        return None
    x, layout = _words(state, node)
    if window.keeps_size:
        return x, window.places(result, 0), result, result
    source, words = window.source(result.pitch), -(-len(found[1]) // FEATURES)
    flat = [place for phase in window.phases for place in phase]
    key = (x, source, window.stride, window.phases)
    if key not in state.made:
        args = (x, layout.numbers(), source.numbers(), list(window.stride), flat, found[2])
        state.made[key] = state.editor.call(l0.copy_word_planes.default, args, before=node)
    return state.made[key], window.places(source, words), source, result


def _words(state: PlanePacking, node: fx.Node) -> tuple[fx.Node, Planes]:
    """The quantised input of ``node`` in planes of words, and their layout; readers with the same scales share it."""
    found, quantize = integer_input(state.editor, node), node.args[0]
    assert found is not None and isinstance(quantize, fx.Node)
    x, inverse, zero_point = found
    size = image_size(x)
    layout = state.layouts.get(size) or Planes.rows(*size)
    key = (x, zero_point, *inverse.tolist())
    if key not in state.made:
        if size in state.layouts:
            planes = state.planes(x, quantize)
        else:
            planes = state.editor.call(aten.flatten.using_ints, (x, 2), before=quantize)
        scales = state.editor.add_constant(f"{quantize.name}_inverse", inverse, quantize)
        args = (planes, scales, zero_point)
        state.made[key] = state.editor.call(l0.quantize_planes.default, args, before=quantize)
    return state.made[key], layout
