"""A transposed convolution as an ordinary one with a set of channels for each phase of its result."""

from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, per_axis, shape, tensor
from l0compile.ir.program import Program

aten = torch.ops.aten

# Key in the meta of a convolution: bool of the weight's shape, where it has a tap. All other places are zero.
TAPS = "taps"
_CONVOLUTION = {1: aten.conv1d.default, 2: aten.conv2d.default}


def transposed_conv_to_conv(program: Program) -> Program:
    """Write a transposed convolution as an ordinary one with a set of channels for each phase of its result.

    Rewrite: conv_transpose(x) -> the phases of conv(x), interleaved. Result stride * q + phase reads x[q + shift] for
        the taps with tap * dilation = phase + padding - stride * shift, so each phase is a convolution of its own. One
        convolution computes them all; taps that a phase lacks are zero.
    Checks: float32, constant weight and bias, one group, height and width known.
    Returns: the program, itself when there is nothing to do.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.conv_transpose1d.default, aten.conv_transpose2d.input) and _fits(editor, node):
            _rewrite(editor, node)
    return editor.finish()


def _fits(editor: Editor, node: fx.Node) -> bool:
    given = arguments(node)
    x, weight, bias = tensor(given["input"]), editor.value(given["weight"]), editor.value(given["bias"])
    if x is None or weight is None or (bias is None) != (given["bias"] is None) or given["groups"] != 1:
        return False
    axes = weight.ndim - 2
    static = x.ndim == axes + 2 and all(isinstance(size, int) for size in x.shape[2:])
    return static and x.dtype == weight.dtype == torch.float32 and weight.numel() > 0


class _PhaseAxis:
    """One axis of positions: the shifts at which its taps read, and the tap of each phase at each shift."""

    def __init__(self, size: int, taps: int, stride: int, padding: int, dilation: int, result: int) -> None:
        self.size, self.stride, self.result = size, stride, result
        reads: dict[tuple[int, int], int] = {}
        for phase, tap in product(range(stride), range(taps)):
            shift, rest = divmod(phase + padding - tap * dilation, stride)
            if not rest:
                reads[phase, shift] = tap
        shifts = [shift for _, shift in reads]
        self.first, self.taps = min(shifts), max(shifts) - min(shifts) + 1
        self.reads = {(phase, shift - self.first): tap for (phase, shift), tap in reads.items()}
        self.places = -(-result // stride)  # of each phase
        behind = self.places - 1 + self.first + self.taps - size
        self.padding = max(0, -self.first, behind)

    @property
    def begin(self) -> int:
        """The place of result 0 among the interleaved phases."""
        return (self.padding + self.first) * self.stride

    @property
    def length(self) -> int:
        """The number of results that the interleaved phases hold."""
        return (self.size + 2 * self.padding - self.taps + 1) * self.stride


def _rewrite(editor: Editor, node: fx.Node) -> None:
    given = arguments(node)
    weight, bias = editor.value(given["weight"]), editor.value(given["bias"])
    assert weight is not None
    count = weight.ndim - 2
    settings = [per_axis(given[name], count) for name in ("stride", "padding", "dilation")]
    sizes = zip(shape(given["input"])[2:], weight.shape[2:], *settings, shape(node)[2:], strict=True)
    axes = [_PhaseAxis(*map(int, each)) for each in sizes]
    phases, channels = [axis.stride for axis in axes], weight.shape[1]
    stem = str(given["weight"].target)
    kernel = editor.add_constant(f"{stem}_phases", _phase_weight(weight, axes), node)
    offset = None if bias is None else editor.add_constant(f"{stem}_bias", bias.repeat(prod(phases)), node)
    ones = [1] * count
    args = (given["input"], kernel, offset, ones, [axis.padding for axis in axes], ones, 1)
    y = editor.call(_CONVOLUTION[count], args, before=node)
    taps = _phase_weight(torch.ones_like(weight), axes) != 0
    if not taps.all():
        y.meta[TAPS] = taps
    # [N, phases, channels, places] -> [N, channels, place, phase, ...]
    y = editor.call(aten.unflatten.int, (y, 1, [*phases, channels]), before=node)
    order = [0, 1 + count, *(dim for i in range(count) for dim in (2 + count + i, 1 + i))]
    y = editor.call(aten.permute.default, (y, order), before=node)
    for dim in range(2, 2 + count):
        y = editor.call(aten.flatten.using_ints, (y, dim, dim + 1), before=node)
    for number, axis in enumerate(axes):
        if axis.begin or axis.result != axis.length:
            cut = (y, 2 + number, axis.begin, axis.begin + axis.result)
            y = editor.call(aten.slice.Tensor, cut, before=node)
    editor.replace(node, y)


def _phase_weight(weight: Tensor, axes: list[_PhaseAxis]) -> Tensor:
    """[phases * channels, C, taps...] from [C, channels, taps...]."""
    phases, taps = [axis.stride for axis in axes], [axis.taps for axis in axes]
    result = weight.new_zeros(*phases, weight.shape[1], weight.shape[0], *taps)
    for reads in product(*(axis.reads.items() for axis in axes)):
        own: Any = tuple(tap for _, tap in reads)
        place: Any = (*(phase for (phase, _), _ in reads), ..., *(shift for (_, shift), _ in reads))
        result[place] = weight[(..., *own)].t()
    return result.flatten(0, len(axes))
