"""LayerNorm over the feature axis, lane by lane (oracle: ``l0compile::packed_layer_norm``)."""

from l0compile._tvm import TB
from l0compile.kernels.lanes import body, const, kernel, local, param, splat, store, symbol
from l0compile.kernels.spec import LayerNormSpec, TokenTile


def layer_norm(spec: LayerNormSpec, tile: TokenTile):  # type: ignore[no-untyped-def]
    """PrimFunc(x[, weight, bias], y). Two-pass variance: the one-pass formula loses digits when the mean is large."""
    with kernel("layer_norm") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.features, tile.lanes))
        weight = param("weight", (spec.features,)) if spec.affine else None
        bias = param("bias", (spec.features,)) if spec.affine else None
        y = param("y", (tiles, spec.features, tile.lanes))
        with body(), TB.parallel(0, tiles * tile.vectors) as task:
            t, s = task // tile.vectors, TB.Ramp((task % tile.vectors) * tile.vector, 1, tile.vector)
            mean, rstd = local((tile.vector,)), local((tile.vector,))
            every = TB.Ramp(0, 1, tile.vector)
            zero = splat(TB.float32(0), tile)
            store(mean, zero, every)
            with TB.serial(0, spec.features) as f:
                # Relative to the first feature: a common offset would cost the sum its low digits.
                store(mean, mean[every] + (x[t, f, s] - x[t, 0, s]), every)
            store(mean, x[t, 0, s] + mean[every] * const(1.0 / spec.features, zero), every)
            store(rstd, zero, every)
            with TB.serial(0, spec.features) as f:
                delta = x[t, f, s] - mean[every]
                store(rstd, rstd[every] + delta * delta, every)
            variance = rstd[every] * const(1.0 / spec.features, zero) + const(spec.eps, zero)
            store(rstd, const(1.0, zero) / TB.sqrt(variance), every)
            with TB.serial(0, spec.features) as f:
                value = (x[t, f, s] - mean[every]) * rstd[every]
                if weight is not None and bias is not None:
                    value = value * splat(weight[f], tile) + splat(bias[f], tile)
                store(y, value, t, f, s)
    return builder.get()
