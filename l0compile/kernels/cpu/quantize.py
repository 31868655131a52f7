"""Float32 numbers of packed tokens as words of four 8-bit integers (oracle: ``l0compile::packed_quantize``)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from l0compile.hardware.costs import KernelWorkload
from l0compile.kernels.cpu.dot import WORD, word
from l0compile.kernels.cpu.lanes import Expr, body, kernel, live_registers, param, ramp, store, symbol
from l0compile.kernels.definition import (
    KernelCall,
    KernelCosts,
    KernelDef,
    KernelOperands,
    counts_per_feature,
    example_tokens,
    known_tail,
    packed_array,
)
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import Tail, TokenTile

# Words written in one task: enough for the work to outweigh the counting, few enough for all threads to have some.
_WORDS = 16


@dataclass(frozen=True)
class QuantizeSpec:
    """clamp(round(x * inverse) + zero_point, 0, 255), each feature with its own ``inverse``.

    Attributes:
        features: of a token.
        zero_point: what 0 becomes.
        tail: tokens of the last tile, see ``Tail``.
    """

    features: int
    zero_point: int
    tail: Tail = 0


def quantize(spec: QuantizeSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, inverse[, tokens], y): x [T, F, L] -> y [T, ceil(F / 4), L]."""
    words = -(-spec.features // WORD)
    with kernel("quantize") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.features, tile.lanes))
        inverse = param("inverse", (spec.features,))
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, words, tile.lanes), "int32")
        parts = -(-words // _WORDS)
        with body(), TB.parallel(0, registers * parts) as task:
            register, first = task // parts, task % parts * _WORDS
            t, lanes = register // tile.vectors, ramp(register % tile.vectors * tile.vector, tile.vector)

            def write(w: Expr, count: int) -> None:
                features = [w * WORD + byte for byte in range(count)]
                values, inverses = [x[t, f, lanes] for f in features], [inverse[f] for f in features]
                store(y, word(values, inverses, spec.zero_point, tile.vector), t, w, lanes)

            with TB.serial(0, TB.max(TB.min(_WORDS, spec.features // WORD - first), 0)) as i:
                write(first + i, WORD)
            if spec.features % WORD:
                with TB.If(first + _WORDS >= words), TB.Then():
                    write(words - 1, spec.features % WORD)
    return builder.get()


def _call(node: fx.Node) -> KernelCall:
    x, inverse, zero_point, *tokens = node.args
    tail, sizes = known_tail(x, *tokens)
    return KernelCall(QuantizeSpec(int(x.meta["val"].shape[1]), zero_point, tail), (x, inverse), sizes)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    return KernelWorkload("quantize", (call.spec.features,), tokens=example_tokens(node, call), dtype="int8")


def _spec(workload: KernelWorkload, tile: TokenTile) -> QuantizeSpec | None:
    if len(workload.shape) != 1:
        return None
    return QuantizeSpec(workload.shape[0], 128, workload.tokens % tile.lanes)


def _operands(
    spec: QuantizeSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    x = packed_array(spec.features, workload.tokens, tile, random)
    y = np.zeros((x.shape[0], -(-spec.features // WORD), tile.lanes), np.int32)
    return KernelOperands((x, np.ones(spec.features, np.float32), y))


QUANTIZE = KernelDef(
    name="quantize",
    calls={"packed_quantize": _call},
    spec=QuantizeSpec,
    emit=quantize,
    costs=KernelCosts(_workload, _spec, counts_per_feature, _operands),
    dtypes=("float32", "int8"),
    moves=True,
)
