"""Rotary position embedding, lane by lane (oracle: ``l0compile::packed_rope``)."""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.kernels.cpu.lanes import body, kernel, live_registers, param, ramp, store, symbol
from l0compile.kernels.definition import KernelCall, KernelDef, known_tail
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import Tail, TokenTile


@dataclass(frozen=True)
class RopeSpec:
    """Turn pairs of features of each head by an angle per token.

    Attributes:
        heads: heads side by side.
        dim: features of a head.
        tail: tokens of the last tile, see ``Tail``.
        interleaved: a pair is two neighbours, with one angle, instead of the same place in both halves of a head.
    """

    heads: int
    dim: int
    tail: Tail = 0
    interleaved: bool = False


def rope(spec: RopeSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, cos, sin[, tokens], y). A task is one head of one register of tokens."""
    half = spec.dim // 2
    angles = half if spec.interleaved else spec.dim
    with kernel("rope") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.heads * spec.dim, tile.lanes))
        cos, sin = (param(name, (tiles, angles, tile.lanes)) for name in ("cos", "sin"))
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, spec.heads * spec.dim, tile.lanes))
        with body(), TB.parallel(0, registers * spec.heads) as task:
            register, first = task // spec.heads, (task % spec.heads) * spec.dim
            t, s = register // tile.vectors, ramp((register % tile.vectors) * tile.vector, tile.vector)
            with TB.serial(0, half) as d:
                # Features that are turned into each other, and where the angle of the second is.
                one, two = (
                    (first + 2 * d, first + 2 * d + 1) if spec.interleaved else (first + d, first + half + d)
                )
                e = d if spec.interleaved else half + d
                low, high = x[t, one, s], x[t, two, s]
                store(y, low * cos[t, d, s] - high * sin[t, d, s], t, one, s)
                store(y, high * cos[t, e, s] + low * sin[t, e, s], t, two, s)
    return builder.get()


def _call(node: fx.Node) -> KernelCall:
    x, cos, sin, heads, tokens, interleaved = (*node.args, None, False)[:6]
    tail, sizes = known_tail(x, tokens)
    dim = int(x.meta["val"].shape[1]) // heads
    return KernelCall(RopeSpec(heads, dim, tail, interleaved), (x, cos, sin), sizes)


ROPE = KernelDef(name="rope", calls={"packed_rope": _call}, spec=RopeSpec, emit=rope, costs=None, light=True)
