"""LayerNorm and RMSNorm over the feature axis, lane by lane.

Oracles: ``l0compile::packed_layer_norm`` and ``l0compile::packed_rms_norm``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from l0compile.hardware.costs import KernelWorkload
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
from l0compile.kernels.definition import (
    KernelCall,
    KernelCosts,
    KernelDef,
    KernelOperands,
    counts_per_feature,
    example_tokens,
    given,
    known_tail,
    packed_array,
)
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import Tail, TokenTile


@dataclass(frozen=True)
class NormSpec:
    """LayerNorm or RMSNorm of a vector, at the channels of it that are left; ir/ops/norm.py has the formulas.

    Attributes:
        features: channels that are left.
        eps: added to the variance.
        centred: LayerNorm; else RMSNorm.
        weight: there is a weight.
        bias: there is a bias.
        width: channels of the whole vector.
        removed_mean: mean of the width - features other channels.
        removed_squares: sum of their squares, taken from their mean when ``centred``.
        tail: tokens of the last tile, see ``Tail``.
    """

    features: int
    eps: float
    centred: bool
    weight: bool
    bias: bool
    width: int
    removed_mean: float = 0.0
    removed_squares: float = 0.0
    tail: Tail = 0


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
    """(sum(x) + removed * removed_mean) / width.

    Computed relative to the first feature: a common offset would cost the sum its low digits.
    """
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


def _layer_norm_call(node: fx.Node) -> KernelCall:
    x, weight, bias, eps, width, removed_mean, removed_m2, *tokens = node.args
    tail, sizes = known_tail(x, *tokens)
    features, parameters = int(x.meta["val"].shape[1]), (weight is not None, bias is not None)
    spec = NormSpec(features, eps, True, *parameters, width, removed_mean, removed_m2, tail)
    return KernelCall(spec, given(x, weight, bias), sizes)


def _rms_norm_call(node: fx.Node) -> KernelCall:
    x, weight, eps, width, squares, *tokens = node.args
    tail, sizes = known_tail(x, *tokens)
    features = int(x.meta["val"].shape[1])
    spec = NormSpec(features, eps, False, weight is not None, False, width, 0.0, squares, tail)
    return KernelCall(spec, given(x, weight), sizes)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    variant = "layer" if call.spec.centred else "rms"
    return KernelWorkload("norm", (call.spec.features,), tokens=example_tokens(node, call), variant=variant)


def _spec(workload: KernelWorkload, tile: TokenTile) -> NormSpec | None:
    if len(workload.shape) != 1 or workload.variant not in ("layer", "rms"):
        return None
    (features,), centred = workload.shape, workload.variant == "layer"
    return NormSpec(features, 1e-5, centred, True, centred, features, tail=workload.tokens % tile.lanes)


def _operands(
    spec: NormSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    vectors = [np.ones(spec.features, np.float32) for _ in range(1 + spec.bias)]
    x, y = (packed_array(spec.features, workload.tokens, tile, random) for _ in range(2))
    return KernelOperands((x, *vectors, y))


NORM = KernelDef(
    name="norm",
    calls={"packed_layer_norm": _layer_norm_call, "packed_rms_norm": _rms_norm_call},
    spec=NormSpec,
    emit=norm,
    costs=KernelCosts(_workload, _spec, counts_per_feature, _operands),
)
