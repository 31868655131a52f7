"""Float32 numbers of packed tokens as words of two bfloat16 numbers.

Oracles: ``l0compile::packed_bfloat16`` and ``l0compile::packed_token_pairs``.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx

from l0compile.hardware.costs import KernelWorkload
from l0compile.ir.nodes import example_size, shape
from l0compile.kernels.cpu.lanes import (
    body,
    broadcast,
    kernel,
    live_registers,
    param,
    picked,
    ramp,
    store,
    symbol,
)
from l0compile.kernels.cpu.pair import PAIR, pair_word
from l0compile.kernels.definition import (
    KernelCall,
    KernelCosts,
    KernelDef,
    KernelOperands,
    counts_per_feature,
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
        by_tokens: a word holds two tokens of one feature, instead of two features of one token.
    """

    features: int
    tail: Tail = 0
    by_tokens: bool = False


def narrow(spec: NarrowSpec, tile: TokenTile) -> Any:
    """PrimFunc(x[, tokens], y): x [T, F, L] -> y [T, ceil(F / 2), L], or [T, F, L / 2] by tokens."""
    if spec.by_tokens:
        return _token_pairs(spec, tile)
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


def _token_pairs(spec: NarrowSpec, tile: TokenTile) -> Any:
    half = tile.vector // PAIR
    with kernel("token_pairs") as builder:
        tiles = symbol("tiles")
        x = param("x", (tiles, spec.features, tile.lanes))
        registers = live_registers(spec.tail, tile, tiles)
        y = param("y", (tiles, spec.features, tile.lanes // PAIR), "int32")
        parts = -(-spec.features // _WORDS)
        with body(), TB.parallel(0, registers * parts) as task:
            register, first = task // parts, task % parts * _WORDS
            t, lane = register // tile.vectors, register % tile.vectors * tile.vector
            with TB.serial(0, TB.min(_WORDS, spec.features - first)) as i:
                whole = x[t, first + i, ramp(lane, tile.vector)]
                low, high = (picked(whole, range(odd, tile.vector, PAIR)) for odd in range(PAIR))
                store(y, pair_word(low, high, half), t, first + i, ramp(lane // PAIR, half))
    return builder.get()


def _call(node: fx.Node) -> KernelCall:
    x, *tokens = node.args
    tail, sizes = known_tail(x, *tokens)
    by_tokens = node.target is torch.ops.l0compile.packed_token_pairs.default
    return KernelCall(NarrowSpec(int(x.meta["val"].shape[1]), tail, by_tokens), (x,), sizes)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    tokens, variant = (
        prod(map(example_size, shape(call.tensors[0])[::2])),
        "tokens" if call.spec.by_tokens else "",
    )
    return KernelWorkload("narrow", (call.spec.features,), tokens=tokens, variant=variant, dtype="bfloat16")


def _spec(workload: KernelWorkload, tile: TokenTile) -> NarrowSpec | None:
    if len(workload.shape) != 1:
        return None
    return NarrowSpec(workload.shape[0], workload.tokens % tile.lanes, workload.variant == "tokens")


def _operands(
    spec: NarrowSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    x = packed_array(spec.features, workload.tokens, tile, random)
    words = (spec.features, tile.lanes // PAIR) if spec.by_tokens else (-(-spec.features // PAIR), tile.lanes)
    return KernelOperands((x, np.zeros((x.shape[0], *words), np.int32)))


NARROW = KernelDef(
    name="narrow",
    calls={"packed_bfloat16": _call, "packed_token_pairs": _call},
    spec=NarrowSpec,
    emit=narrow,
    costs=KernelCosts(_workload, _spec, counts_per_feature, _operands),
    dtypes=("float32", "bfloat16"),
    moves=True,
)
