"""What attention to listed keys costs."""

from collections.abc import Mapping
from math import ceil

import numpy as np
from numpy.typing import NDArray
from torch import fx

from l0compile.hardware.costs import KernelWorkload, Machine
from l0compile.ir.nodes import arguments
from l0compile.ir.ops.attention.packed_block import EDGE
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.mask import MaskSpec
from l0compile.kernels.cpu.pair import PAIR
from l0compile.kernels.definition import KernelCall, KernelCosts, KernelOperands, example_number, packed_array
from l0compile.kernels.token_tile import TokenTile

_KEY_MASK = MaskSpec((True, False, False, True), True)
_SHARED = ListAxes(False, False)
_LISTS = ("full", "partial", "columns")
WORDS = (*_LISTS, "mask", "bias", "softcap", "logarithms")
_LEAST = 1e-4  # a density is positive


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    """Its shape is that of attention, then the queries of a row and the keys of a block."""
    spec, own = call.spec, call.spec.attention
    batch, queries, keys = map(example_number, call.sizes)
    shape = (own.heads, own.kv_heads, own.dim, own.value_dim, queries, keys, spec.q_block, spec.k_block)
    flags = (spec.full, spec.partial, spec.columns, own.mask, own.bias_heads, own.softcap, spec.log_sum_exp)
    variant = "+".join(word for word, flag in zip(WORDS, flags, strict=True) if flag)
    density = min(1.0, max(_LEAST, arguments(node)["kept"]))
    return KernelWorkload("block_attention", shape, None, density, batch * queries, variant, own.numbers)


def _spec(workload: KernelWorkload, tile: TokenTile) -> BlockAttentionSpec | None:
    words = workload.words
    if len(workload.shape) != 8 or 0 in workload.shape or not set(words) & set(_LISTS):
        return None
    heads, kv_heads, dim, value_dim, _queries, _keys, q_block, k_block = workload.shape
    full, partial, columns = (_SHARED if name in words else None for name in _LISTS)
    attention = AttentionSpec(
        heads, kv_heads, dim, value_dim, dim**-0.5, None, None, _KEY_MASK if "mask" in words else None,
        int("bias" in words), "bfloat16" if workload.dtype == "bfloat16" else "float32",
        softcap=30.0 if "softcap" in words else 0.0,
    )  # fmt: skip
    return BlockAttentionSpec(
        attention, q_block, k_block, full, partial, partial, columns, "logarithms" in words
    )


def _counts(workload: KernelWorkload, machine: Machine) -> Mapping[str, float]:
    """Those of attention to as many keys; each row of each register of queries starts anew."""
    heads, _, dim, value_dim, _, keys, _, _ = workload.shape
    lanes = heads * machine.computed(workload.tokens) / machine.threads
    scores = lanes * keys * workload.density
    numbers = "" if workload.dtype == "float32" else f" {workload.dtype}"
    return {
        "launch": 1,
        f"attention: multiplication{numbers}": scores * (dim + value_dim),
        "attention: score": scores,
        "attention: output": lanes * value_dim,
        "block attention: row": lanes,
        **{f"block attention: score, {word}": scores for word in workload.words if word != "full"},
    }


def _operands(
    spec: BlockAttentionSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    """Lists of random blocks and keys, those of each kind as long as those of the others."""
    own, (queries, keys) = spec.attention, workload.shape[4:6]
    batch = max(1, workload.tokens // queries)
    q, y = (
        packed_array(own.heads * width, batch * queries, tile, random)
        for width in (own.dim, own.value_dim + int(spec.log_sum_exp))
    )
    k, v = (packed_array(own.kv_heads * w, batch * keys, tile, random) for w in (own.dim, own.value_dim))
    if own.pairs:
        k, v = (np.zeros((len(t), *places), np.int32) for t, places in (
            (k, (k.shape[1] // PAIR, tile.lanes)), (v, (v.shape[1], tile.lanes // PAIR)),
        ))  # fmt: skip
    rows, kinds = ceil(queries / spec.q_block), [spec.full, spec.partial, spec.columns]
    share = workload.density / sum(kind is not None for kind in kinds)
    values: list[NDArray[np.generic] | int] = [q, *([k, v] if spec.blocks else [])]
    if spec.columns:
        values += [
            random.standard_normal((batch, keys, own.kv_heads * w), np.float32)
            for w in (own.dim, own.value_dim)
        ]
    if spec.full:
        values += _list(rows, ceil(keys / spec.k_block), share, random)
    if spec.partial:
        counts, entries = _list(rows, ceil(keys / spec.k_block), share, random)
        patterns = np.ones((1, spec.k_block + 2 * EDGE, spec.q_block + 2 * EDGE), np.int8)
        values += [counts, entries, np.zeros_like(entries), patterns]
    if spec.columns:
        values += _list(rows, keys, share, random)
    values += [] if own.mask is None else [np.ones((batch, 1, 1, keys), np.bool_)]
    values += [np.zeros((1, queries + keys - 1 + 2 * EDGE), np.float32)] if own.bias_heads else []
    return KernelOperands((*values, batch, queries, keys, y))


def _list(
    rows: int, size: int, share: float, random: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    count = max(1, round(size * share))
    entries = np.stack([np.sort(random.permutation(size)[:count]) for _ in range(rows)]).astype(np.int32)
    return np.full((1, 1, rows), count, np.int32), entries[None, None]


COSTS = KernelCosts(_workload, _spec, _counts, _operands, words=WORDS)
