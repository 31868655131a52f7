"""LayerNorm and RMSNorm over the feature axis, lane by lane.

Oracles: ``l0compile::packed_layer_norm`` and ``l0compile::packed_rms_norm``.
"""

from collections.abc import Callable
from typing import Any

from l0compile.hardware._tvm import TB
from l0compile.kernels.cpu.lanes import (
    Expr,
    body,
    const,
    kernel,
    live_registers,
    param,
    splat,
    store,
    symbol,
    variable,
)
from l0compile.kernels.spec import NormSpec, TokenTile

# Features summed side by side: one sum alone waits for each of its additions.
_SUMS = 4


def norm(spec: NormSpec, tile: TokenTile) -> Any:
    """PrimFunc(x[, weight][, bias][, tokens], y). A task is one register of tokens."""
    with kernel("layer_norm" if spec.centred else "rms_norm") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.features, tile.lanes))
        weight = param("weight", (spec.features,)) if spec.weight else None
        bias = param("bias", (spec.features,)) if spec.bias else None
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, spec.features, tile.lanes))
        with body(), TB.parallel(0, registers) as task:
            t, s = task // tile.vectors, TB.Ramp((task % tile.vectors) * tile.vector, 1, tile.vector)
            every = TB.Ramp(0, 1, tile.vector)
            mean = _mean(spec, tile, x, t, s, every) if spec.centred else None
            rstd = _rstd(spec, tile, x, t, s, every, mean)
            with TB.serial(0, spec.features) as f:
                value = _centred(x[t, f, s], mean, every) * rstd[every]
                value = value if weight is None else value * splat(weight[f], tile)
                store(y, value if bias is None else value + splat(bias[f], tile), t, f, s)
    return builder.get()


def _centred(value: Expr, mean: Any, every: Expr) -> Expr:
    return value if mean is None else value - mean[every]


def _mean(spec: NormSpec, tile: TokenTile, x: Any, t: Expr, s: Expr, every: Expr) -> Any:
    """(sum(x) + removed * removed_mean) / width, relative to the first feature: a common offset would cost the sum its
    low digits."""
    zero = splat(TB.float32(0), tile)
    mean = _sum(spec.features, tile, every, lambda f: x[t, f, s] - x[t, 0, s])
    removed = spec.width - spec.features
    if removed:
        others = const(spec.removed_mean, zero) - x[t, 0, s]
        store(mean, mean[every] + others * const(float(removed), zero), every)
    store(mean, x[t, 0, s] + mean[every] * const(1.0 / spec.width, zero), every)
    return mean


def _rstd(spec: NormSpec, tile: TokenTile, x: Any, t: Expr, s: Expr, every: Expr, mean: Any) -> Any:
    """1 / sqrt(squares / width + eps). Two-pass variance: the one-pass formula loses digits when the mean is large."""
    zero = splat(TB.float32(0), tile)

    def square(f: Expr) -> Expr:
        delta = _centred(x[t, f, s], mean, every)
        return delta * delta

    rstd = _sum(spec.features, tile, every, square)
    if spec.removed_squares:
        store(rstd, rstd[every] + const(spec.removed_squares, zero), every)
    removed = spec.width - spec.features
    if removed and mean is not None:
        apart = const(spec.removed_mean, zero) - mean[every]
        store(rstd, rstd[every] + apart * apart * const(float(removed), zero), every)
    variance = rstd[every] * const(1.0 / spec.width, zero) + const(spec.eps, zero)
    store(rstd, const(1.0, zero) / TB.sqrt(variance), every)
    return rstd


def _sum(features: int, tile: TokenTile, every: Expr, term: Callable[[Expr], Expr]) -> Any:
    """The sum of ``term(f)`` over all features, in a register."""
    sums = [variable(tile.vector) for _ in range(min(_SUMS, features))]
    for register in sums:
        store(register, splat(TB.float32(0), tile), every)
    turns = features // len(sums)
    with TB.serial(0, turns) as turn:
        for number, register in enumerate(sums):
            store(register, register[every] + term(turn * len(sums) + number), every)
    for number, f in enumerate(range(turns * len(sums), features)):
        store(sums[number], sums[number][every] + term(f), every)
    for register in sums[1:]:
        store(sums[0], sums[0][every] + register[every], every)
    return sums[0]
