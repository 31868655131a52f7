"""Gather and scatter channels around layers that must keep dead ones because other axes are coupled with them."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling import KeptChannels, couple
from l0compile.analysis.liveness import Liveness, analyse
from l0compile.analysis.liveness.convolution import CONVOLUTIONS, is_transposed
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, example_size, is_op, shape
from l0compile.ir.program import Program
from l0compile.rewrite.regions import note, region_of

aten = torch.ops.aten

# Multiplications that must be saved for each element that is copied: a copy waits for memory.
WORTH = 32


def gather_channels(program: Program) -> Program:
    """Let a layer compute only its live channels where a tensor it reads or writes must keep dead ones (rule 7).

    Rewrite: layer(x) with dead outputs that stay -> scatter(layer'(x)). layer' has the rows of the live outputs and one
        row of zeros; scatter is an ``index_select`` that puts them back, plus the constants of the dead outputs.
        layer(x) with dead inputs that stay -> layer(index_select(x, all)), a copy from which compaction can remove
        them, folding what they held into the bias.
    Checks: a linear layer, or a convolution of one group, with constant weight and bias and channels on axis 1;
        liveness proves that the rows are constant or unread; each copied element saves enough multiplications.
    Returns: the program, itself when no dead channel stays. The reason of each layer says what is put back, and why.
    """
    editor = Editor(program)
    current = editor.current()
    liveness = analyse(current)
    kept = couple(current, liveness)
    reasons = {}
    for node in list(editor.graph.nodes):
        layer = _layer(editor, node, kept)
        if layer is None:
            continue
        if _pays(layer.dead(kept, layer.inputs), layer.per_input, kept.needed[layer.inputs], layer.read):
            _gather(editor, layer)
        dead, obstacle = layer.dead(kept, layer.outputs), kept.obstacle(layer.outputs)
        if obstacle is None or bool(dead.all()):
            continue
        if _pays(dead, layer.per_output, torch.ones_like(dead), layer.written):
            why = f"{obstacle[0]} of {len(dead)} outputs are constants that are put back: {obstacle[1]}"
            _scatter(editor, layer, dead, liveness)
        else:
            why = "to put its dead outputs back would cost more time than to compute them"
        reasons[region_of(node)] = why
    return note(editor.finish(), reasons)


@dataclass(frozen=True)
class _GatheredLayer:
    """A linear layer or convolution.

    Attributes:
        node, weight, bias: the layer and its constants.
        inputs, outputs: the axes of its channels.
        per_input, per_output: multiplications that one channel costs.
        read, written: elements of one channel of the input and of the result.
    """

    node: fx.Node
    weight: Tensor
    bias: Tensor | None
    inputs: tuple[fx.Node, int]
    outputs: tuple[fx.Node, int]
    per_input: int
    per_output: int
    read: int
    written: int

    def dead(self, kept: KeptChannels, axis: tuple[fx.Node, int]) -> Tensor:
        """bool [size]: the channels of an axis that are dead but stay."""
        return kept.masks[axis] & ~kept.needed[axis]


def _layer(editor: Editor, node: fx.Node, kept: KeptChannels) -> _GatheredLayer | None:
    if not is_op(node, aten.linear.default, *CONVOLUTIONS):
        return None
    given = arguments(node)
    x, weight, bias = given["input"], editor.value(given["weight"]), editor.value(given["bias"])
    wrong = weight is None or (given["bias"] is not None and bias is None) or given.get("groups", 1) != 1
    if wrong or weight is None or weight.ndim < 2:
        return None
    linear = is_op(node, aten.linear.default)
    if not linear and len(shape(node)) != weight.ndim:
        return None
    inputs, outputs = (
        ((x, len(shape(x)) - 1), (node, len(shape(node)) - 1)) if linear else ((x, 1), (node, 1))
    )
    if inputs not in kept.masks or outputs not in kept.masks:
        return None
    read, written = (_elements(axis) for axis in (inputs, outputs))
    live_in, live_out = (int((kept.masks[a] & kept.needed[a]).sum()) for a in (inputs, outputs))
    taps = prod(weight.shape[2:]) * (read if is_transposed(node) else written)
    return _GatheredLayer(node, weight, bias, inputs, outputs, taps * live_out, taps * live_in, read, written)


def _elements(axis: tuple[fx.Node, int]) -> int:
    """The number of elements of one channel."""
    node, position = axis
    return prod(example_size(size) for place, size in enumerate(shape(node)) if place != position)


def _pays(dead: Tensor, saved: int, copied: Tensor, each: int) -> bool:
    return bool(dead.any()) and int(dead.sum()) * saved >= WORTH * int(copied.sum()) * each


def _gather(editor: Editor, layer: _GatheredLayer) -> None:
    x, axis = layer.inputs
    order = editor.add_constant(f"{layer.node.name}_inputs", torch.arange(int(shape(x)[axis])), layer.node)
    chosen = editor.call(aten.index_select.default, (x, axis, order), before=layer.node)
    chosen.meta["val"] = x.meta["val"]
    layer.node.update_arg(0, chosen)
    editor.changed += 1


def _scatter(editor: Editor, layer: _GatheredLayer, dead: Tensor, liveness: Liveness) -> None:
    node, axis = layer.outputs
    live = (~dead).nonzero().reshape(-1)
    rows = 1 if is_transposed(node) else 0
    small_weight = _with_zero(layer.weight.index_select(rows, live), rows)
    given, stem = arguments(node), str(arguments(node)["weight"].target)
    weight = editor.add_constant(stem, small_weight, node)
    bias = None
    if layer.bias is not None:
        bias = editor.add_constant(str(given["bias"].target), _with_zero(layer.bias[live], 0), node)
    places = torch.full((len(dead),), len(live))
    places[live] = torch.arange(len(live))
    args = (given["input"], weight, bias, *node.args[3:])
    kwargs = {name: value for name, value in node.kwargs.items() if name not in ("input", "weight", "bias")}
    small = editor.call(node.target, args, before=node, origin=node, kwargs=kwargs)
    order = editor.add_constant(f"{stem}_places", places, node)
    result = editor.call(aten.index_select.default, (small, axis, order), before=node)
    constants = _constants(liveness, node, axis, dead)
    if bool((constants != 0).any()):
        added = editor.add_constant(f"{stem}_constants", constants, node)
        result = editor.call(aten.add.Tensor, (result, added), before=node)
    for created in (small, result):
        created.meta.pop("val", None)
    editor.replace(node, result)


def _with_zero(value: Tensor, axis: int) -> Tensor:
    """``value`` with one more channel, of zeros."""
    sizes = [1 if place == axis else size for place, size in enumerate(value.shape)]
    return torch.cat((value, value.new_zeros(sizes)), axis)


def _constants(liveness: Liveness, node: fx.Node, axis: int, dead: Tensor) -> Tensor:
    """The known values of dead channels, 0 elsewhere; size 1 on axes along which they are the same."""
    fact = liveness.fact(node)
    at = dead.reshape([-1 if place == axis else 1 for place in range(len(shape(node)))])
    return torch.where(at & fact.known, fact.value, torch.zeros((), dtype=fact.value.dtype))
