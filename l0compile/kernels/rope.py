"""Rotary position embedding, lane by lane (oracle: ``l0compile::packed_rope``)."""

from typing import Any

from l0compile._tvm import TB
from l0compile.kernels.lanes import body, kernel, live_registers, param, ramp, store, symbol
from l0compile.kernels.spec import RopeSpec, TokenTile


def rope(spec: RopeSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, cos, sin[, tokens], y). A task is one head of one register of tokens."""
    half = spec.dim // 2
    with kernel("rope") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.heads * spec.dim, tile.lanes))
        cos, sin = (param(name, (tiles, spec.dim, tile.lanes)) for name in ("cos", "sin"))
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, spec.heads * spec.dim, tile.lanes))
        with body(), TB.parallel(0, registers * spec.heads) as task:
            register, first = task // spec.heads, (task % spec.heads) * spec.dim
            t, s = register // tile.vectors, ramp((register % tile.vectors) * tile.vector, tile.vector)
            with TB.serial(0, half) as d:
                low, high = x[t, first + d, s], x[t, first + half + d, s]
                store(y, low * cos[t, d, s] - high * sin[t, d, s], t, first + d, s)
                turned = high * cos[t, half + d, s] + low * sin[t, half + d, s]
                store(y, turned, t, first + half + d, s)
    return builder.get()
