"""Depthwise convolution and max-pooling on planes, pixels in lanes (oracle: ``l0compile::packed_window``)."""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.ir.ops.planes import Planes
from l0compile.kernels.cpu.lanes import ACTIVATIONS, Expr, body, kernel, param, store, symbol, variable
from l0compile.kernels.cpu.planes import clear_border, only_pixels, pieces
from l0compile.kernels.definition import KernelCall, KernelDef, given
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class WindowSpec:
    """activation(sum of weighted taps + bias) of each channel on planes, or of the largest tap without a weight.

    Attributes:
        channels: planes of an image in the result.
        planes: planes of an input image.
        size: numbers of an input plane.
        result: layout of the output planes.
        offsets: where each tap begins, counted from the first plane of a channel.
        weight: there is a weight.
        bias: there is a bias.
        activation: a key of ``ACTIVATIONS``.
    """

    channels: int
    planes: int
    size: int
    result: Planes
    offsets: tuple[int, ...]
    weight: bool
    bias: bool
    activation: str


def window(spec: WindowSpec, tile: TokenTile) -> Any:
    """PrimFunc(x[, weight][, bias], y): x [N, planes, size] -> y [N, channels, size']; N is symbolic."""
    with kernel("window") as builder:
        images = symbol("images")
        x = param("x", (images, spec.planes, spec.size))
        weight = param("weight", (spec.channels, len(spec.offsets))) if spec.weight else None
        bias = param("bias", (spec.channels,)) if spec.bias else None
        y = param("y", (images, spec.channels, spec.result.size))
        whole, rest = divmod(spec.result.body, tile.lanes)
        with body(), TB.parallel(0, images * spec.channels) as task:
            image, channel = task // spec.channels, task % spec.channels
            operands = (x, weight, bias, y)
            if whole:
                with TB.serial(0, whole) as t:
                    _tile(spec, tile, image, channel, t * tile.lanes, tile.lanes, operands)
            if rest:
                _tile(spec, tile, image, channel, whole * tile.lanes, rest, operands)
            for t in {0, (spec.result.body - 1) // tile.lanes}:
                clear_border(spec.result, tile, TB.int64(t), lambda _: (image, channel), 1, y)
    return builder.get()


def _tile(
    spec: WindowSpec,
    tile: TokenTile,
    image: Expr,
    channel: Expr,
    first: Expr,
    width: int,
    operands: tuple[Any, ...],
) -> None:
    x, weight, bias, y = operands
    for start, lanes in pieces(width, tile):
        acc, s, at = variable(lanes), TB.Ramp(0, 1, lanes), first + start
        for t, offset in enumerate(spec.offsets):
            value = x[image, 0, TB.Ramp(channel * spec.size + offset + at, 1, lanes)]
            if weight is not None:
                value = value * TB.Broadcast(weight[channel, t], lanes)
            store(acc, value if t == 0 else acc[s] + value if spec.weight else TB.max(acc[s], value), s)
        result = acc[s] if bias is None else acc[s] + TB.Broadcast(bias[channel], lanes)
        result = only_pixels(spec.result, lanes, at, ACTIVATIONS[spec.activation](result))
        store(y, result, image, channel, TB.Ramp(spec.result.lead + at, 1, lanes))


def _call(node: fx.Node) -> KernelCall:
    x, weight, bias, channels, offsets, result, activation = node.args
    _, planes, size = x.meta["val"].shape
    spec = WindowSpec(
        channels, int(planes), int(size), Planes(*result), tuple(offsets),
        weight=weight is not None, bias=bias is not None, activation=activation,
    )  # fmt: skip
    return KernelCall(spec, given(x, weight, bias))


WINDOW = KernelDef(name="window", calls={"packed_window": _call}, spec=WindowSpec, emit=window, costs=None)
