"""LayerNorm and RMSNorm over the feature axis, lane by lane.

Oracles: ``l0compile::packed_layer_norm`` and ``l0compile::packed_rms_norm``, and the same ``..._words``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware.costs import KernelWorkload
from l0compile.ir.nodes import arguments
from l0compile.kernels.cpu.lanes import (
    Expr,
    body,
    const,
    kept,
    kernel,
    live_registers,
    param,
    splat,
    store,
    symbol,
    variable,
)
from l0compile.kernels.cpu.word_form import FORMS, WordForm, inverses_of, word_form
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
        words: the form in which the result is written, or None.
        numbers: it is written in float32.
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
    words: WordForm | None = None
    numbers: bool = True


# Features summed side by side: one sum alone waits for each of its additions.
_SUMS = 4


def norm(spec: NormSpec, tile: TokenTile) -> Any:
    """PrimFunc(x[, weight][, bias][, inverse][, tokens][, y][, words]). A task is one register of tokens.

    Raises:
        BuildError: the features do not fill the words.
    """
    form = spec.words
    if form and (form.by_tokens or spec.features % form.features):
        raise BuildError(f"norm: expected whole words of {form.features} features, got {spec.features}")
    with kernel("layer_norm" if spec.centred else "rms_norm") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.features, tile.lanes))
        weight = param("weight", (spec.features,)) if spec.weight else None
        bias = param("bias", (spec.features,)) if spec.bias else None
        integers = form and form.numbers == "int8"
        inverse = param("inverse", (spec.features,)) if integers else None
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, spec.features, tile.lanes)) if spec.numbers else None
        words = param("words", (tiles, *form.extents(spec.features, tile.lanes)), "int32") if form else None
        with body(), TB.parallel(0, registers) as task:
            t, s = task // tile.vectors, TB.Ramp((task % tile.vectors) * tile.vector, 1, tile.vector)
            every = TB.Ramp(0, 1, tile.vector)
            mean = _mean(spec, tile, x, t, s, every) if spec.centred else None
            rstd = _rstd(spec, tile, x, t, s, every, mean)

            def result(f: Expr) -> Expr:
                value = _centred(x[t, f, s], mean, every) * rstd[every]
                value = value if weight is None else value * splat(weight[f], tile)
                return value if bias is None else value + splat(bias[f], tile)

            if form is None:
                with TB.serial(0, spec.features) as f:
                    store(y, result(f), t, f, s)
            else:
                with TB.serial(0, spec.features // form.features) as row:
                    features = [row * form.features + place for place in range(form.features)]
                    values = [kept(result(f), tile.vector) for f in features]
                    for f, value in zip(features, values, strict=True):
                        if y is not None:
                            store(y, value, t, f, s)
                    scales = inverses_of(inverse, features[0], form.features)
                    store(words, form.words(values, scales, tile.vector), t, row, s)
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


def _call(node: fx.Node) -> KernelCall:
    """Of any norm, with its words or without."""
    own, both = arguments(node), isinstance(node.meta["val"], tuple)
    centred = "removed_mean" in own
    x, weight, bias, inverse = (own.get(name) for name in ("x", "weight", "bias", "inverse"))
    assert isinstance(x, fx.Node)
    tail, sizes = known_tail(x, own["tokens"])
    words = word_form(inverse, own["zero_point"], own["pairs"])
    mean, squares = (own["removed_mean"], own["removed_m2"]) if centred else (0.0, own["removed_square_sum"])
    spec = NormSpec(
        int(x.meta["val"].shape[1]), own["eps"], centred, weight is not None, bias is not None, own["width"], mean,
        squares, tail, words, both or words is None,
    )  # fmt: skip
    return KernelCall(spec, given(x, weight, bias, inverse), sizes)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    spec, tokens = call.spec, example_tokens(call.tensors[0], call)
    words = [
        "layer" if spec.centred else "rms",
        *([spec.words.name] if spec.words else []),
        *(["numbers"] if spec.words and spec.numbers else []),
    ]
    return KernelWorkload("norm", (spec.features,), tokens=tokens, variant="+".join(words))


def _spec(workload: KernelWorkload, tile: TokenTile) -> NormSpec | None:
    kind, *others = workload.words or [""]
    form = FORMS.get(others[0]) if others else None
    if len(workload.shape) != 1 or kind not in ("layer", "rms") or (others and form is None):
        return None
    (features,), centred, numbers = workload.shape, kind == "layer", form is None or "numbers" in others
    if form and (form.by_tokens or features % form.features):
        return None
    tail = workload.tokens % tile.lanes
    return NormSpec(features, 1e-5, centred, True, centred, features, 0.0, 0.0, tail, form, numbers)


def _operands(
    spec: NormSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    form = spec.words
    scales = 1 if form and form.numbers == "int8" else 0
    vectors = [np.ones(spec.features, np.float32) for _ in range(1 + spec.bias + scales)]
    x, y = (packed_array(spec.features, workload.tokens, tile, random) for _ in range(2))
    numbers = [y] if spec.numbers else []
    words = [np.zeros((len(x), *form.extents(spec.features, tile.lanes)), np.int32)] if form else []
    return KernelOperands((x, *vectors, *numbers, *words))


_OPERATORS = ("packed_layer_norm", "packed_layer_norm_words", "packed_rms_norm", "packed_rms_norm_words")

NORM = KernelDef(
    name="norm",
    calls=dict.fromkeys(_OPERATORS, _call),
    spec=NormSpec,
    emit=norm,
    costs=KernelCosts(_workload, _spec, counts_per_feature, _operands),
    light=True,
)
