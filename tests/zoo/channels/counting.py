"""Which multiplications of a pruned net are dead, found by running it, and how many a program still does."""

from collections import defaultdict
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from l0compile.ir.nodes import arguments, example_size, is_op, shape
from l0compile.ir.program import Program
from tests.zoo.channels.pruned import CONVOLUTIONS

aten = torch.ops.aten
_LINEAR = (aten.linear.default,)
_CONVOLUTIONS = (
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding, aten.conv2d.padding,
    aten.conv3d.padding, aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input,
)  # fmt: skip
_RUNS = 6


@dataclass(frozen=True)
class Count:
    """Multiplications in convolutions and linear layers of one call: all, and those that are not dead."""

    total: int
    alive: int

    @property
    def dead(self) -> int:
        """How many a perfect compiler would take out."""
        return self.total - self.alive


def count(model: nn.Module, inputs: tuple[Tensor, ...]) -> Count:
    """Dead multiplications of a net, by watching it, without any analysis of its graph.

    The net runs on six random inputs of the same shapes. A channel of a layer's input is dead if at each position it
    is the same for all of them (then it is a constant, to be folded). A channel of a layer's result is dead if that
    holds for it, or if no gradient of the net's results reaches it (then nobody reads it). A multiplication of a
    weight with an input is dead if the channel that it reads or the one that it adds to is dead: those left are what
    the net would do if each dead channel's row and all columns that read it were cut out. A row or column of one
    group of a grouped convolution counts by itself.
    """
    watched = [m for m in model.modules() if isinstance(m, (*CONVOLUTIONS, nn.Linear))]
    runs: list[list[_Call]] = []
    for _ in range(_RUNS):
        calls: list[_Call] = []
        handles = [m.register_forward_hook(_watch(calls)) for m in watched]
        with torch.enable_grad():
            results = model(*(torch.randn_like(x).requires_grad_() for x in inputs))
            floats = [leaf for leaf in tree_leaves(results) if leaf.requires_grad]
            loss = sum((leaf * torch.randn_like(leaf)).sum() for leaf in floats)
        outputs = [call.output for call in calls]
        for call, found in zip(calls, torch.autograd.grad(loss, outputs, allow_unused=True), strict=True):
            call.gradient = torch.zeros_like(call.output) if found is None else found
        for handle in handles:
            handle.remove()
        runs.append(calls)
    counts = [_of_layer(list(call)) for call in zip(*runs, strict=True)]
    return Count(sum(total for total, _ in counts), sum(alive for _, alive in counts))


@dataclass
class _Call:
    layer: nn.Module
    input: Tensor
    output: Tensor
    gradient: Tensor | None = None


def _watch(calls: list[_Call]) -> Any:
    def hook(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append(_Call(layer, args[0].detach(), output))

    return hook


def _of_layer(calls: list[_Call]) -> tuple[int, int]:
    """(all multiplications of one layer's call, those that are not dead)."""
    layer = calls[0].layer
    axis = -1 if isinstance(layer, nn.Linear) else 1
    rows = _varies([call.output.detach() for call in calls], axis)
    rows &= torch.stack([_by_channel(call.gradient, axis).abs().amax(1) > 0 for call in calls]).any(0)
    columns = _varies([call.input for call in calls], axis)
    groups = getattr(layer, "groups", 1)
    pairs = (rows.reshape(groups, -1).sum(1) * columns.reshape(groups, -1).sum(1)).sum()
    taps = prod(getattr(layer, "kernel_size", ()))
    positions = calls[0].input if isinstance(layer, CONVOLUTIONS[3:]) else calls[0].output
    each = positions.numel() // positions.shape[axis] * taps
    return each * len(rows) * len(columns) // groups, each * int(pairs)


def _by_channel(value: Any, axis: int) -> Tensor:
    return value.movedim(axis, 0).reshape(value.shape[axis], -1)


def _varies(values: list[Tensor], axis: int) -> Tensor:
    """bool per channel: whether any position differs between the runs or inside a batch (all inputs are random)."""
    joined, axis = torch.cat(values), axis - 1 if axis > 0 else axis
    spread = _by_channel(joined.amax(0) - joined.amin(0), axis).amax(1)
    return spread > 1e-5 * (1 + _by_channel(joined.abs().amax(0), axis).amax(1))


def multiplications(program: Program) -> int:
    """Multiplications in the convolutions and linear layers of a program at the sizes of its example."""
    found: dict[str, int] = defaultdict(int)
    for node in program.graph.nodes:
        if is_op(node, *_LINEAR):
            found[node.name] = _elements(node) * int(shape(arguments(node)["weight"])[-1])
        elif is_op(node, *_CONVOLUTIONS):
            weight = shape(arguments(node)["weight"])
            transposed = "transpose" in str(node.target)
            each = _elements(arguments(node)["input"]) if transposed else _elements(node)
            found[node.name] = each * prod(int(size) for size in weight[1:])
    return sum(found.values())


def _elements(node: Any) -> int:
    return prod(example_size(size) for size in shape(node))
