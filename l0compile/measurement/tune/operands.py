"""Tensors to call a kernel with: random numbers, and blocks kept at random as pruning leaves them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l0compile.hardware.costs import Work
from l0compile.kernels.spec import AttentionSpec, KernelSpec, LinearSpec, NormSpec, PackSpec, TokenTile

# Weights of a model's layers take turns in the caches: those of one kernel are rotated through this much memory, more
# than a second-level cache holds and less than a third.
_ROTATED_BYTES = 8 << 20
_MOST_SETS = 32


Make = Callable[[NDArray[Any]], Any]


def operands(
    spec: KernelSpec, work: Work, tile: TokenTile, make: Make, seed: int = 0
) -> list[tuple[Any, ...]]:
    """Arguments of the kernel, result included, for calls that take turns: same activations, other weights.

    make: a tensor of an array that is contiguous, each time in memory of its own.
    """
    random = np.random.default_rng(seed)
    tiles = -(-work.tokens // tile.lanes)

    def packed(features: int) -> Any:
        return make(random.standard_normal((tiles, features, tile.lanes), np.float32))

    match spec:
        case LinearSpec():
            x, y = packed(spec.k), packed(spec.n)
            rest = (packed(spec.n),) if spec.residual else ()
            return [(x, *weight, *rest, y) for weight in _weights(spec, work, random, make)]
        case AttentionSpec():
            queries, keys = work.shape[4:]
            batch = max(1, work.tokens // queries)
            k_tiles = -(-batch * keys // tile.lanes)
            q, y = packed(spec.heads * spec.dim), packed(spec.heads * spec.value_dim)
            widths = (spec.kv_heads * spec.dim, spec.kv_heads * spec.value_dim)
            kv = [make(random.standard_normal((k_tiles, width, tile.lanes), np.float32)) for width in widths]
            mask = [] if spec.mask is None else [make(np.ones((batch, 1, 1, keys), np.bool_))]
            bias = [make(np.zeros((spec.bias_heads, tiles, keys, tile.lanes), np.float32))] * spec.bias_heads
            return [(q, *kv, *mask, *bias, batch, queries, keys, y)]
        case NormSpec():
            vectors = [make(np.ones(spec.features, np.float32))] * (1 + spec.bias)
            return [(packed(spec.features), *vectors, packed(spec.features))]
        case PackSpec():
            rows = make(random.standard_normal((work.tokens, spec.features), np.float32))
            both = (rows, packed(spec.features))
            return [both[::-1] if spec.unpack else both]
    raise TypeError(f"{spec}: no operands are made for it")


def _weights(
    spec: LinearSpec, work: Work, random: np.random.Generator, make: Make
) -> Iterator[tuple[Any, ...]]:
    rows, columns = -(-spec.n // spec.rows), -(-spec.k // spec.cols)
    total = rows * columns
    stored = total if spec.dense else max(1, round(total * work.density))
    size = stored * spec.rows * spec.cols
    parts = [
        random.standard_normal((stored, spec.cols, spec.rows), np.float32),
        *(() if spec.dense else _pattern(rows, columns, stored, random)),
        random.standard_normal(spec.n, np.float32),
    ]
    # Other places in memory, the same numbers: only the first matter to the time, and the second take long to draw.
    for _ in range(min(_MOST_SETS, 1 + _ROTATED_BYTES // (4 * size))):
        yield tuple(make(part) for part in parts)


def _pattern(
    rows: int, columns: int, stored: int, random: np.random.Generator
) -> tuple[NDArray[np.int32], ...]:
    """(column of each block, where each block row begins) for blocks kept at random places."""
    places = np.sort(random.permutation(rows * columns)[:stored])
    begins = np.searchsorted(places, np.arange(rows + 1) * columns)
    return (places % columns).astype(np.int32), begins.astype(np.int32)
