"""Moving between rows [M, F] and packed tokens [T, F, L] (oracles: ``l0compile::pack`` and ``l0compile::unpack``)."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch import fx

from l0compile.hardware.costs import KernelWorkload
from l0compile.ir.nodes import example_size, shape
from l0compile.kernels.cpu.lanes import body, held, kernel, param, symbol
from l0compile.kernels.cpu.rows.square import Square
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


# Squares of a task: neighbours in rows, which processors fetch together.
_SQUARES = 4


def pack(spec: PackSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, y): x [M, F] -> y [T, F, L], or back when ``spec.unpack``; M and T are symbolic."""
    with kernel("unpack" if spec.unpack else "pack") as builder:
        tokens, tiles = symbol("tokens"), symbol("tiles")
        rows_shape, packed_shape = (tokens, spec.features), (tiles, spec.features, tile.lanes)
        x = param("x", packed_shape if spec.unpack else rows_shape)
        y = param("y", rows_shape if spec.unpack else packed_shape)
        rows, packed = (y, x) if spec.unpack else (x, y)
        size = tile.vector
        squares = -(-spec.features // size)
        parts = -(-squares // _SQUARES)
        with body(), TB.parallel(0, tiles * parts) as task:
            t, first = task // parts, held(task % parts * _SQUARES)
            token = held(t * tile.lanes)
            live = held(TB.min(tokens - token, tile.lanes))
            with (
                TB.serial(0, (live + size - 1) // size) as register,
                TB.serial(0, TB.min(squares - first, _SQUARES)) as number,
            ):
                lane, feature = register * size, held((first + number) * size)
                place = t, feature, lane
                square = Square(rows, packed, size, token + lane, feature, spec.features, place, live - lane)
                square.unpack() if spec.unpack else square.pack()
    return builder.get()


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
