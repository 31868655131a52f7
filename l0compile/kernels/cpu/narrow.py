"""Float32 numbers of packed tokens as words of two bfloat16 numbers (oracle: ``l0compile::packed_bfloat16``)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from l0compile.hardware.costs import KernelWorkload
from l0compile.kernels.cpu.lanes import broadcast, body, kernel, live_registers, param, ramp, store, symbol
from l0compile.kernels.cpu.pair import PAIR, pair_word
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

# Words written in one task, see the kernel that quantises.
_WORDS = 32


@dataclass(frozen=True)
class NarrowSpec:
    """Round to bfloat16.

    Attributes:
        features: of a token.
        tail: tokens of the last tile, see ``Tail``.
    """

    features: int
    tail: Tail = 0


def narrow(spec: NarrowSpec, tile: TokenTile) -> Any:
    """PrimFunc(x[, tokens], y): x [T, F, L] -> y [T, ceil(F / 2), L]."""
    words, width = -(-spec.features // PAIR), tile.vector
    with kernel("narrow") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.features, tile.lanes))
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, words, tile.lanes), "int32")
        parts = -(-words // _WORDS)
        with body(), TB.parallel(0, registers * parts) as task:
            register, first = task // parts, task % parts * _WORDS
            t, lanes = register // tile.vectors, ramp(register % tile.vectors * tile.vector, tile.vector)
            whole = spec.features // PAIR
            with TB.serial(0, TB.max(TB.min(_WORDS, whole - first), 0)) as i:
                w = first + i
                store(y, pair_word(x[t, PAIR * w, lanes], x[t, PAIR * w + 1, lanes], width), t, w, lanes)
            if spec.features % PAIR:
                with TB.If(first + _WORDS >= words), TB.Then():
                    zero = broadcast(TB.float32(0), width)
                    store(y, pair_word(x[t, spec.features - 1, lanes], zero, width), t, words - 1, lanes)
    return builder.get()


def _call(node: fx.Node) -> KernelCall:
    x, *tokens = node.args
    tail, sizes = known_tail(x, *tokens)
    return KernelCall(NarrowSpec(int(x.meta["val"].shape[1]), tail), (x,), sizes)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    return KernelWorkload("narrow", (call.spec.features,), tokens=example_tokens(node, call), dtype="bfloat16")


def _spec(workload: KernelWorkload, tile: TokenTile) -> NarrowSpec | None:
    return NarrowSpec(workload.shape[0], workload.tokens % tile.lanes) if len(workload.shape) == 1 else None


def _operands(
    spec: NarrowSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    x = packed_array(spec.features, workload.tokens, tile, random)
    return KernelOperands((x, np.zeros((x.shape[0], -(-spec.features // PAIR), tile.lanes), np.int32)))


NARROW = KernelDef(
    name="narrow",
    calls={"packed_bfloat16": _call},
    spec=NarrowSpec,
    emit=narrow,
    costs=KernelCosts(_workload, _spec, counts_per_feature, _operands),
    moves=True,
)
