"""LayerNorm and RMSNorm over the feature axis, lane by lane.

Oracles: ``l0compile::packed_layer_norm`` and ``l0compile::packed_rms_norm``.
"""

from typing import Any

from l0compile._tvm import TB
from l0compile.kernels.lanes import (
    Expr,
    body,
    const,
    kernel,
    live_registers,
    local,
    param,
    splat,
    store,
    symbol,
)
from l0compile.kernels.spec import NormSpec, TokenTile


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
    mean, zero = local((tile.vector,)), splat(TB.float32(0), tile)
    store(mean, zero, every)
    with TB.serial(0, spec.features) as f:
        store(mean, mean[every] + (x[t, f, s] - x[t, 0, s]), every)
    removed = spec.width - spec.features
    if removed:
        others = const(spec.removed_mean, zero) - x[t, 0, s]
        store(mean, mean[every] + others * const(float(removed), zero), every)
    store(mean, x[t, 0, s] + mean[every] * const(1.0 / spec.width, zero), every)
    return mean


def _rstd(spec: NormSpec, tile: TokenTile, x: Any, t: Expr, s: Expr, every: Expr, mean: Any) -> Any:
    """1 / sqrt(squares / width + eps). Two-pass variance: the one-pass formula loses digits when the mean is large."""
    rstd, zero = local((tile.vector,)), splat(TB.float32(0), tile)
    store(rstd, const(spec.removed_squares, zero), every)
    removed = spec.width - spec.features
    if removed and mean is not None:
        apart = const(spec.removed_mean, zero) - mean[every]
        store(rstd, rstd[every] + apart * apart * const(float(removed), zero), every)
    with TB.serial(0, spec.features) as f:
        delta = _centred(x[t, f, s], mean, every)
        store(rstd, rstd[every] + delta * delta, every)
    variance = rstd[every] * const(1.0 / spec.width, zero) + const(spec.eps, zero)
    store(rstd, const(1.0, zero) / TB.sqrt(variance), every)
    return rstd
