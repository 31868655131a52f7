"""Transfer functions of operators within each channel of axis 1: pooling, resampling, padding, pixel shuffle."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.channels import can_hold, fact_of, is_flat, known_channels, place, spread
from l0compile.analysis.liveness.convolution import channels_of
from l0compile.analysis.liveness.lattice import Fact
from l0compile.analysis.liveness.table import View, register
from l0compile.ir.nodes import arguments, is_static, operand_of, shape
from l0compile.ir.operator_facts import facts_of, operators

aten = torch.ops.aten


# Pooling and resampling.
WINDOWS = tuple(op for kind in ("max", "mean", "adaptive mean", "resample") for op in operators(window=kind))


def _window(node: fx.Node, view: View) -> Fact | None:
    """A known channel gives a known channel.

    Where sizes are symbolic, a channel of one number keeps it, except under an average that counts padding: that keeps
    only zeros.
    """
    x, axes = node.args[0], facts_of(node).positions
    if len(shape(node)) != axes + 2:
        return None
    known, value = known_channels(view.fact(x), shape(node)[1])
    if not bool(known.any()):
        return None
    if is_flat(value) and not _divides_otherwise(node):
        return fact_of(known, value)
    sizes = [node.args[1:], *node.kwargs.values()]
    assert isinstance(x, fx.Node)
    planes = spread(value[:, known], shape(x)[2:])
    if planes is None or any(isinstance(size, fx.Node) for size in _leaves(sizes)):
        zero = (value == 0).flatten(2).all(2)[0]
        return fact_of(known & zero, torch.zeros([1, len(known), *[1] * axes], dtype=value.dtype))
    result = node.target(planes, *node.args[1:], **node.kwargs)
    return fact_of(known, place(known, result))


def _leaves(value: Any) -> list[Any]:
    return [leaf for v in value for leaf in _leaves(v)] if isinstance(value, (list, tuple)) else [value]


def _divides_otherwise(node: fx.Node) -> bool:
    if facts_of(node).window != "mean":
        return False
    given = arguments(node)
    padding = given["padding"] if isinstance(given["padding"], (list, tuple)) else [given["padding"]]
    return any(padding) or bool(given["ceil_mode"]) or given.get("divisor_override") is not None


def _window_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    source = operand_of(node)
    if len(shape(node)) != facts_of(node).positions + 2:
        return {}
    channels = channels_of(live, live.shape[1])
    return {source: channels.reshape(1, -1, *[1] * (len(shape(source)) - 2))}


def _pads(node: fx.Node) -> tuple[str, float, list[Any]]:
    """(mode, value, amounts) of a padding operator."""
    given = arguments(node)
    value = given["value"]
    return str(given.get("mode", "constant")), 0.0 if value is None else value, list(given["pad"])


def _pad(node: fx.Node, view: View) -> Fact | None:
    """Known elements, with a border around them. Along a symbolic axis only those equal to the border stay known."""
    mode, number, amounts = _pads(node)
    x = operand_of(node)
    fact, rank = view.fact(x), len(shape(node))
    if not all(map(is_static, amounts)) or isinstance(number, fx.Node):
        return None
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    sizes, cut = list(known.shape), list(amounts)
    for axis in range(rank - len(amounts) // 2, rank):
        place_of = 2 * (rank - 1 - axis)
        if is_static(shape(x)[axis]):
            sizes[axis] = int(shape(x)[axis])
        else:
            known = known & (value == number) if mode == "constant" else known
            cut[place_of : place_of + 2] = [0, 0]
    if not can_hold(sizes) or not can_hold([size for size in shape(node)[1:] if is_static(size)]):
        return None
    known, value = known.expand(sizes), value.expand(sizes)
    border = {"constant": (1.0, number)}.get(mode, (None, None))
    inside = aten.pad.default(known.float(), cut, mode, border[0]) > 0
    return Fact(inside, aten.pad.default(value, cut, mode, border[1]))


def _pad_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """An element is read where the result is; a border that repeats elements reads the whole axis."""
    mode, _, amounts = _pads(node)
    source = operand_of(node)
    for pair in range(len(amounts) // 2):
        axis, before = live.ndim - 1 - pair, amounts[2 * pair]
        if live.shape[axis] == 1:
            continue
        if mode != "constant" or not is_static(before) or before < 0 or amounts[2 * pair + 1] < 0:
            live = live.any(axis, keepdim=True)
        else:
            live = live.narrow(axis, before, int(shape(source)[axis]))
    return {source: live}


def _shuffle(node: fx.Node, view: View) -> Fact | None:
    """Elements move between channels and positions."""
    x = operand_of(node)
    fact = view.fact(x)
    if len(shape(node)) != 4 or not can_hold(shape(x)[1:]):
        return None
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    sizes = (known.shape[0], *shape(x)[1:])
    known, value = (node.target(t.expand(sizes), node.args[1]) for t in (known, value))
    return Fact(_shrunk(known), _shrunk(value))


def _shrunk(value: Tensor) -> Tensor:
    """``value`` with positions cut to size 1 where nothing differs."""
    for axis in (2, 3):
        first = value.narrow(axis, 0, 1)
        value = first if bool((value == first).all()) else value
    return value


_INVERSE = {
    aten.pixel_shuffle.default: aten.pixel_unshuffle.default,
    aten.pixel_unshuffle.default: aten.pixel_shuffle.default,
}


def _shuffle_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    source = operand_of(node)
    if len(shape(node)) != 4 or not all(map(is_static, shape(node)[1:])):
        return {}
    mask = _INVERSE[node.target](live.expand(live.shape[0], *shape(node)[1:]), node.args[1])
    return {source: _shrunk(mask)}


register(*WINDOWS, forward=_window, backward=_window_reads)
register(aten.pad.default, aten.constant_pad_nd.default, forward=_pad, backward=_pad_reads)
register(*_INVERSE, forward=_shuffle, backward=_shuffle_reads)
