"""Moving between rows [M, F] and packed tokens [T, F, L] (oracles: ``l0compile::pack`` and ``l0compile::unpack``)."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch import fx

from l0compile.hardware.costs import KernelWorkload
from l0compile.ir.nodes import example_size, shape
from l0compile.kernels.cpu.lanes import Expr, body, joined, kernel, param, ramp, store, symbol
from l0compile.kernels.definition import (
    KernelCall,
    KernelCosts,
    KernelDef,
    KernelOperands,
    counts_per_feature,
    packed_array,
)
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class PackSpec:
    """Move tokens between rows [M, F] and packed tokens [T, F, L].

    Attributes:
        features: features of a token, F.
        unpack: from packed tokens to rows, instead of to packed tokens.
    """

    features: int
    unpack: bool


# Features moved at once: a cache line of a row, so that every line of either side is touched in one go.
_CHUNK = 16


def pack(spec: PackSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, y): x [M, F] -> y [T, F, L], or back when ``spec.unpack``; M and T are symbolic."""
    with kernel("unpack" if spec.unpack else "pack") as builder:
        tokens, tiles = symbol("tokens"), symbol("tiles")
        rows_shape, packed_shape = (tokens, spec.features), (tiles, spec.features, tile.lanes)
        x = param("x", packed_shape if spec.unpack else rows_shape)
        y = param("y", rows_shape if spec.unpack else packed_shape)
        chunks = -(-spec.features // _CHUNK)
        with body(), TB.parallel(0, tiles * chunks) as task:
            t, first = task // chunks, (task % chunks) * _CHUNK
            live = TB.min(tokens - t * tile.lanes, tile.lanes)
            if spec.unpack:
                with TB.serial(0, live) as lane:
                    _to_row(spec, tile, x, y, t, lane, first)
            else:
                _from_rows(spec, tile, x, y, t, first, live)
    return builder.get()


def _to_row(spec: PackSpec, tile: TokenTile, x: Any, y: Any, t: Expr, lane: Expr, first: Expr) -> None:
    """Features from ``first`` on of one token.

    Whole registers are stored, so that a line that is not in the cache costs one wait, not one for each number.
    """
    token = t * tile.lanes + lane
    if spec.features % _CHUNK:
        _each_feature(spec, first, lambda f: store(y, x[t, f, lane], token, f))
        return
    for f in range(0, _CHUNK, tile.vector):
        values = [x[t, first + f + i, lane] for i in range(tile.vector)]
        store(y, joined(values), token, ramp(first + f, tile.vector))


def _from_rows(spec: PackSpec, tile: TokenTile, x: Any, y: Any, t: Expr, first: Expr, live: Expr) -> None:
    """Features from ``first`` on of the tokens of a tile, a register of tokens at once while there are enough."""
    full, token = live // tile.vector, t * tile.lanes
    with TB.serial(0, full) as register:
        start = register * tile.vector
        lanes = ramp(start, tile.vector)
        rows = range(tile.vector)
        _each_feature(
            spec, first, lambda f: store(y, joined([x[token + start + i, f] for i in rows]), t, f, lanes)
        )
    begin = full * tile.vector
    with TB.serial(0, live - begin) as i:
        _each_feature(spec, first, lambda f: store(y, x[token + begin + i, f], t, f, begin + i))
    # The register that holds the last token is whole for whoever reads it.
    with TB.serial(0, (live + tile.vector - 1) // tile.vector * tile.vector - live) as dead:
        _each_feature(spec, first, lambda f: store(y, TB.float32(0), t, f, live + dead))


def _each_feature(spec: PackSpec, first: Expr, write: Any) -> None:
    if spec.features % _CHUNK == 0:
        for f in range(_CHUNK):
            write(first + f)
    else:
        with TB.serial(0, TB.min(_CHUNK, spec.features - first)) as f:
            write(first + f)


def _pack_call(node: fx.Node) -> KernelCall:
    features = int(node.args[0].meta["val"].shape[-1])
    return KernelCall(PackSpec(features, unpack=False), (node.args[0],), rows_in=True)


def _unpack_call(node: fx.Node) -> KernelCall:
    features = int(node.meta["val"].shape[-1])
    return KernelCall(PackSpec(features, unpack=True), (node.args[0],), rows_out=True)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    rows = node if call.spec.unpack else call.tensors[0]
    tokens, variant = prod(map(example_size, shape(rows)[:-1])), "unpack" if call.spec.unpack else "pack"
    return KernelWorkload("pack", (call.spec.features,), tokens=tokens, variant=variant)


def _spec(workload: KernelWorkload, _: TokenTile) -> PackSpec | None:
    known = len(workload.shape) == 1 and workload.variant in ("pack", "unpack")
    return PackSpec(workload.shape[0], workload.variant == "unpack") if known else None


def _operands(
    spec: PackSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    rows = random.standard_normal((workload.tokens, spec.features), np.float32)
    both = (rows, packed_array(spec.features, workload.tokens, tile, random))
    return KernelOperands(both[::-1] if spec.unpack else both)


PACK = KernelDef(
    name="pack",
    calls={"pack": _pack_call, "unpack": _unpack_call},
    spec=PackSpec,
    emit=pack,
    costs=KernelCosts(_workload, _spec, counts_per_feature, _operands),
    moves=True,
    light=True,
)
