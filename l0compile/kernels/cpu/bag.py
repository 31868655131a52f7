"""Sums and means over lists of rows (oracle: ``l0compile::bag``). Tensors are rows here, not packed tokens.

Almost all of its time goes into waiting for rows that lie anywhere in memory, so the kernel asks for rows early.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.ir.nodes import arguments, shape
from l0compile.kernels.cpu.lanes import (
    Expr,
    ahead,
    body,
    broadcast,
    held,
    kernel,
    param,
    ramp,
    store,
    symbol,
    variable,
)
from l0compile.kernels.definition import KernelCall, KernelDef, given
from l0compile.kernels.tir import TB, tirx
from l0compile.kernels.token_tile import TokenTile

# Rows asked for before they are needed, and registers that a pass over a list adds up in.
_AHEAD, _AT_ONCE = 12, 16
_LINE = 16  # float32 numbers of a cache line


@dataclass(frozen=True)
class BagSpec:
    """Sums over lists of rows.

    Attributes:
        features: of a row.
        weighted: each entry of a list has a weight.
        mean: divide by the length of each list.
        index: dtype of the indices.
    """

    features: int
    weighted: bool
    mean: bool
    index: str


def bag(spec: BagSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, indices, starts[, weights], y). A task is one list."""
    with kernel("bag") as builder:
        rows, edges, lists = symbol("rows"), symbol("edges"), symbol("lists")
        x = param("x", (rows, spec.features))
        indices = param("indices", (edges,), spec.index)
        starts = param("starts", (lists,), spec.index)
        weights = param("weights", (edges,)) if spec.weighted else None
        y = param("y", (lists, spec.features))
        with body(), TB.parallel(0, lists) as i:
            begin = held(_within(starts[i], edges))
            following = _within(starts[TB.min(i + 1, lists - 1)], edges)
            end = held(TB.Select(i + 1 < lists, following, edges))
            parts = _parts(spec.features, tile.vector)
            for first in range(0, len(parts), _AT_ONCE):
                _add_up(
                    spec,
                    (x, indices, weights, y),
                    (rows, edges),
                    (i, begin, end),
                    parts[first : first + _AT_ONCE],
                )
    return builder.get()


def _add_up(
    spec: BagSpec,
    buffers: tuple[Any, Any, Any, Any],
    sizes: tuple[Expr, Expr],
    place: tuple[Expr, Expr, Expr],
    parts: list[tuple[int, int]],
) -> None:
    """Write some parts (start, lanes) of one row of the result."""
    (x, indices, weights, y), (rows, edges), (i, begin, end) = buffers, sizes, place
    sums = [variable(lanes) for _, lanes in parts]
    for (_, lanes), total in zip(parts, sums, strict=True):
        store(total, broadcast(TB.float32(0), lanes), ramp(0, lanes))
    with TB.serial(0, end - begin) as e:
        soon = held(_within(indices[TB.min(begin + e + _AHEAD, edges - 1)], rows - 1))
        for start in range(parts[0][0], parts[-1][0] + parts[-1][1], _LINE):
            ahead(x, soon, start)
        row = held(_within(indices[begin + e], rows - 1))
        for (start, lanes), total in zip(parts, sums, strict=True):
            value = x[row, ramp(start, lanes)]
            if weights is not None:
                value = value * broadcast(weights[begin + e], lanes)
            store(total, total[ramp(0, lanes)] + value, ramp(0, lanes))
    for (start, lanes), total in zip(parts, sums, strict=True):
        value = total[ramp(0, lanes)]
        if spec.mean:
            count = TB.cast(TB.max(end - begin, tirx.const(1, "int64")), "float32")
            value = value / broadcast(count, lanes)
        store(y, value, i, ramp(start, lanes))


def _within(value: Expr, most: Expr) -> Expr:
    """An int64 from 0 to ``most``: a wrong index gives a wrong number, and no access outside of the tensor."""
    return TB.max(TB.min(TB.cast(value, "int64"), most), tirx.const(0, "int64"))


def _parts(features: int, vector: int) -> list[tuple[int, int]]:
    """(start, lanes) of registers that cover a row. The last one may overlap the one before, or be narrower."""
    whole = [(start, vector) for start in range(0, features - vector + 1, vector)]
    rest = features % vector
    if not rest:
        return whole
    if whole:
        return [*whole, (features - vector, vector)]
    found, start = [], 0
    for lanes in (8, 4, 2, 1):
        if features - start >= lanes and lanes <= vector:
            found.append((start, lanes))
            start += lanes
    return found if start == features else [(place, 1) for place in range(features)]


def _call(node: fx.Node) -> KernelCall | None:
    """None for other numbers than float32, which PyTorch adds up."""
    call = arguments(node)
    x, indices, weights = call["x"], call["indices"], call["weights"]
    if x.meta["val"].dtype != torch.float32 or not isinstance(shape(x)[1], int):
        return None
    index = str(indices.meta["val"].dtype).removeprefix("torch.")
    spec = BagSpec(int(shape(x)[1]), weights is not None, bool(call["mean"]), index)
    return KernelCall(spec, given(x, indices, call["starts"], weights))


BAG = KernelDef(
    name="bag", calls={"bag": _call}, spec=BagSpec, emit=bag, costs=None, dtypes=("float32", "int64")
)
