"""An attention mask with queries in lanes (oracle: ``l0compile::pack_mask``)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.kernels.cpu.lanes import Expr, body, kernel, param, store, symbol
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class MaskSpec:
    """A mask [batch, head, query, key].

    Attributes:
        full: which axes are not of size 1.
        boolean: it is of bool, True = attend, and not of float32, which is added to the scores.
    """

    full: tuple[bool, bool, bool, bool]
    boolean: bool


def mask_spec(mask: fx.Node) -> MaskSpec:
    """Which axes of an attention mask broadcast: a size that is exactly 1 does, and so does an axis it lacks."""
    value = mask.meta["val"]
    first, second, third, fourth = (
        not (isinstance(size, int) and size == 1) for size in [1] * (4 - value.ndim) + list(value.shape)
    )
    return MaskSpec((first, second, third, fourth), value.dtype == torch.bool)


# Keys moved at once: a run of a mask's row, and few enough lines of the result to stay in the first cache.
_CHUNK = 16


def pack_mask(spec: MaskSpec, tile: TokenTile) -> Any:
    """PrimFunc(mask, batch, queries, keys, y): mask [B, H, Q, K] (axes of size 1 broadcast) -> y [H, T, K, L]."""
    with kernel("pack_mask") as builder:
        batch, queries, keys = symbol("batch"), symbol("queries"), symbol("keys")
        heads, tiles = symbol("heads"), symbol("tiles")
        sizes = (batch, heads, queries, keys)
        shape = tuple(n if full else 1 for n, full in zip(sizes, spec.full, strict=True))
        mask = param("mask", shape, "bool" if spec.boolean else "float32")
        for name, scalar in (("batch", batch), ("queries", queries), ("keys", keys)):
            TB.arg(name, scalar)
        y = param("y", (heads if spec.full[1] else 1, tiles, keys, tile.lanes))
        chunks = TB.truncdiv(keys + (_CHUNK - 1), _CHUNK)
        with body(), TB.parallel(0, (heads if spec.full[1] else 1) * tiles * chunks) as task:
            row, first = TB.truncdiv(task, chunks), TB.truncmod(task, chunks) * _CHUNK
            head, t = TB.truncdiv(row, tiles), TB.truncmod(row, tiles)
            live = TB.min(batch * queries - t * tile.lanes, tile.lanes)
            with TB.serial(0, live) as lane:
                token = t * tile.lanes + lane
                sequence = TB.truncdiv(token, queries)
                query = token - sequence * queries
                with TB.serial(0, TB.min(_CHUNK, keys - first)) as i:
                    at = _index(spec, sequence, head, query, first + i)
                    store(y, _added(spec, mask[at]), head, t, first + i, lane)
            with TB.serial(0, tile.lanes - live) as dead, TB.serial(0, TB.min(_CHUNK, keys - first)) as i:
                store(y, TB.float32(0), head, t, first + i, live + dead)
    return builder.get()


def _index(spec: MaskSpec, *position: Expr) -> tuple[Expr, ...]:
    return tuple(value if full else 0 for value, full in zip(position, spec.full, strict=True))


def _added(spec: MaskSpec, value: Expr) -> Expr:
    return TB.Select(value, TB.float32(0), TB.float32(float("-inf"))) if spec.boolean else value


def _call(node: fx.Node) -> KernelCall:
    mask, batch, queries, keys, _ = node.args
    return KernelCall(mask_spec(mask), (mask,), (batch, queries, keys), mask=mask)


MASK = KernelDef(
    name="mask",
    calls={"pack_mask": _call},
    spec=MaskSpec,
    emit=pack_mask,
    costs=None,
    dtypes=("float32", "bool"),
)
