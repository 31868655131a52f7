"""Float32 numbers of packed tokens as words of narrow ones, where no kernel before it could write them.

Oracles: ``l0compile::packed_quantize``, ``l0compile::packed_bfloat16`` and ``l0compile::packed_token_pairs``.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx

from l0compile.hardware.costs import KernelWorkload
from l0compile.ir.nodes import arguments, example_size, shape
from l0compile.kernels.cpu.lanes import (
    Expr,
    body,
    kernel,
    live_registers,
    param,
    ramp,
    store,
    symbol,
)
from l0compile.kernels.cpu.word_form import FORMS, WordForm, inverses_of
from l0compile.kernels.definition import (
    KernelCall,
    KernelCosts,
    KernelDef,
    KernelOperands,
    counts_per_feature,
    given,
    known_tail,
    packed_array,
)
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import Tail, TokenTile

# Words written in one task: enough for the work to outweigh the counting, few enough for all threads to have some.
_WORDS = 16


@dataclass(frozen=True)
class NarrowSpec:
    """Round to words.

    Attributes:
        features: of a token.
        form: of the words.
        tail: tokens of the last tile, see ``Tail``.
    """

    features: int
    form: WordForm
    tail: Tail = 0


def narrow(spec: NarrowSpec, tile: TokenTile) -> Any:
    """PrimFunc(x[, inverse][, tokens], y): x [T, F, L] -> y [T, ceil(F / features of a word), L / tokens of a word]."""
    form, width = spec.form, tile.vector
    rows, lanes = form.extents(spec.features, tile.lanes)
    with kernel("token_pairs" if form.by_tokens else "narrow") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.features, tile.lanes))
        inverse = param("inverse", (spec.features,)) if form.numbers == "int8" else None
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, rows, lanes), "int32")
        whole, rest = divmod(spec.features, form.features)
        parts = -(-rows // _WORDS)
        with body(), TB.parallel(0, registers * parts) as task:
            register, first = task // parts, task % parts * _WORDS
            t, lane = register // tile.vectors, register % tile.vectors * width

            def write(row: Expr, count: int) -> None:
                features = [row * form.features + place for place in range(count)]
                values = [x[t, feature, ramp(lane, width)] for feature in features]
                scales = inverses_of(inverse, features[0], count)
                store(y, form.words(values, scales, width), t, row, form.lanes(lane, width))

            with TB.serial(0, TB.max(TB.min(_WORDS, whole - first), 0)) as i:
                write(first + i, form.features)
            if rest:
                with TB.If(first + _WORDS >= rows), TB.Then():
                    write(whole, rest)
    return builder.get()


def _call(node: fx.Node) -> KernelCall:
    own = arguments(node)
    x, inverse = own["x"], own.get("inverse")
    tail, sizes = known_tail(x, own["tokens"])
    form = replace(FORMS[_FORM_OF[node.target]], zero_point=own.get("zero_point", 0))
    return KernelCall(NarrowSpec(int(x.meta["val"].shape[1]), form, tail), given(x, inverse), sizes)


_FORM_OF: dict[Any, str] = {
    torch.ops.l0compile.packed_quantize.default: "narrow",
    torch.ops.l0compile.packed_bfloat16.default: "pairs",
    torch.ops.l0compile.packed_token_pairs.default: "token_pairs",
}


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    tokens, form = prod(map(example_size, shape(call.tensors[0])[::2])), call.spec.form
    return KernelWorkload(
        "narrow", (call.spec.features,), tokens=tokens, variant=form.name, dtype=form.numbers
    )


def _spec(workload: KernelWorkload, tile: TokenTile) -> NarrowSpec | None:
    form = FORMS.get(workload.variant)
    if len(workload.shape) != 1 or form is None or form.numbers != workload.dtype:
        return None
    return NarrowSpec(workload.shape[0], form, workload.tokens % tile.lanes)


def _operands(
    spec: NarrowSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    x = packed_array(spec.features, workload.tokens, tile, random)
    scales = [np.ones(spec.features, np.float32)] if spec.form.numbers == "int8" else []
    y = np.zeros((len(x), *spec.form.extents(spec.features, tile.lanes)), np.int32)
    return KernelOperands((x, *scales, y))


NARROW = KernelDef(
    name="narrow",
    calls=dict.fromkeys(("packed_quantize", "packed_bfloat16", "packed_token_pairs"), _call),
    spec=NarrowSpec,
    emit=narrow,
    costs=KernelCosts(_workload, _spec, counts_per_feature, _operands),
    dtypes=("float32", "bfloat16", "int8"),
    moves=True,
    light=True,
)
