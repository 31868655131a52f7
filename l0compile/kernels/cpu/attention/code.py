"""Scaled dot-product attention, queries in lanes (oracle: ``l0compile::packed_attention``).

A task is one head of one block of queries: one vector of them, so that short sequences and the ragged end of a batch
pay for live vectors only, and windows for little past their edges. A task walks the keys that one of its queries sees
in steps, with a running maximum and sum (online softmax), so that it keeps the scores of one step, whatever the length
of the sequence.
Exact: sum_j exp(s_j - m') v_j = exp(m - m') sum_j exp(s_j - m) v_j.

Tokens of all sequences are packed back to back, so a block may hold the end of one sequence and the start of the next:
it is computed once for each sequence that it touches, and each lane keeps the result of its own.
"""

import contextlib
from math import ceil
from typing import Any

from l0compile.errors import BuildError
from l0compile.kernels.cpu.attention.scores import exponentials, live_keys, load_queries, score
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.attention.state import AttentionBuffers, KeyStep, QueryBlock
from l0compile.kernels.cpu.attention.values import combine
from l0compile.kernels.cpu.lanes import (
    Expr,
    body,
    const,
    exp_below,
    held,
    kernel,
    param,
    scratch,
    store,
    symbol,
    variable,
)
from l0compile.kernels.cpu.pair import PAIR, with_pairs
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

# Keys of a step. Their scores, the queries and the sums of a block stay in the first cache, and rescaling the sums
# once a step is less than a hundredth of the work.
_STEP = 256
_LOWEST = -3.4028234663852886e38  # the lowest live score: models mask with it, too, and then it must count


def attention(spec: AttentionSpec, tile: TokenTile) -> Any:
    """PrimFunc(q, k, v[, mask][, bias][, inverse], batch, queries, keys, y); the three before y are int64 scalars.

    Raises:
        BuildError: the result is in words, which the features of a head do not fill.
    """
    form = spec.result
    if form and (form.by_tokens or spec.value_dim % form.features):
        raise BuildError(
            f"attention: expected heads of whole words of {form.features} features, got {spec.value_dim}"
        )
    with kernel("attention") as builder:
        q_tiles, k_tiles = symbol("q_tiles"), symbol("k_tiles")
        batch, queries, keys = symbol("batch"), symbol("queries"), symbol("keys")
        q = param("q", (q_tiles, spec.heads * spec.dim, tile.lanes))
        word, (by_features, by_tokens) = ("int32", (PAIR, PAIR)) if spec.pairs else ("float32", (1, 1))
        k = param("k", (k_tiles, spec.kv_heads * spec.dim // by_features, tile.lanes), word)
        v = param("v", (k_tiles, spec.kv_heads * spec.value_dim, tile.lanes // by_tokens), word)
        mask = _mask_param(spec, batch, keys)
        bias = param("bias", (spec.bias_heads, q_tiles, keys, tile.lanes)) if spec.bias_heads else None
        integers = form and form.numbers == "int8"
        inverse = param("inverse", (spec.heads * spec.value_dim,)) if integers else None
        for name, scalar in (("batch", batch), ("queries", queries), ("keys", keys)):
            TB.arg(name, scalar)
        width = spec.heads * spec.value_dim
        rows, lanes = form.extents(width, tile.lanes) if form else (width, tile.lanes)
        y = param("y", (q_tiles, rows, lanes), "int32" if form else "float32")
        given = AttentionBuffers(spec, tile, q, k, v, mask, bias, inverse, y, batch, queries, keys)
        blocks = q_tiles * tile.vectors
        pairs = with_pairs(tile) if spec.pairs else contextlib.nullcontext()
        with body(), pairs, TB.parallel(0, spec.heads * blocks) as index:
            number = TB.truncmod(index, blocks)
            # Behind one another, blocks of a window find most of their keys in the cache.
            number = number if spec.window else _paired(number, blocks)
            _block(given, TB.truncdiv(index, blocks), number)
    return builder.get()


def _mask_param(spec: AttentionSpec, batch: Expr, keys: Expr) -> Any:
    if spec.mask is None:
        return None
    sizes = (batch, spec.heads, 1, keys)
    shape = tuple(n if full else 1 for n, full in zip(sizes, spec.mask.full, strict=True))
    return param("mask", shape, "bool" if spec.mask.boolean else "float32")


def _paired(i: Expr, n: Expr) -> Expr:
    """0, n-1, 1, n-2, ...: causal blocks get longer with their number; any run of these has the same work a block."""
    half = TB.truncdiv(i, 2)
    return TB.Select(TB.truncmod(i, 2) == 0, half, n - 1 - half)


def _block(given: AttentionBuffers, head: Expr, number: Expr) -> None:
    spec, tile = given.spec, given.tile
    number = held(number)
    t, lane = held(TB.truncdiv(number, tile.vectors)), held(TB.truncmod(number, tile.vectors) * tile.vector)
    first, tokens = held(number * tile.vector), given.batch * given.queries
    with TB.If(first < tokens):
        with TB.Then():
            step = _step(given)
            work = scratch((spec.dim + step + spec.value_dim, tile.vector))
            kv_head = held(TB.truncdiv(head, spec.heads // spec.kv_heads))
            block = QueryBlock(held(head), kv_head, t, lane, first, work, spec.dim, spec.dim + step)
            load_queries(given, block, head)
            start = held(TB.truncdiv(first, given.queries))
            last = held(TB.min(first + tile.vector, tokens) - 1)
            with TB.serial(0, TB.truncdiv(last, given.queries) - start + 1) as i:
                _sequence(given, block, start + i, last, i == 0)
        width = spec.value_dim // spec.result.features if spec.result else spec.value_dim
        zero = given.splat(TB.int32(0) if spec.result else TB.float32(0))
        with TB.Else(), TB.serial(0, width) as f:  # lanes past the last token hold finite values
            store(given.y, zero, t, head * width + f, TB.Ramp(lane, 1, tile.vector))


def _step(given: AttentionBuffers) -> int:
    """Keys of a step; those that a block sees through a window are shared out evenly."""
    spec, rows = given.spec, given.rows
    if spec.before is None or spec.after is None:
        return _STEP
    # Of all lanes together, and what it takes to begin and end with a whole group.
    keys = max(spec.before + spec.after + given.tile.vector, 1) + rows - 1
    steps = ceil(keys / _STEP)
    return min(_STEP, ceil(keys / steps / rows) * rows)


def _window(
    given: AttentionBuffers, block: QueryBlock, low: Expr, origin: Expr, last: Expr
) -> tuple[Expr, Expr, tuple[Expr, Expr]]:
    """The keys of a sequence that some lane sees, [low, high), and those that every lane sees, in absolute numbers."""
    before, after, start = given.spec.before, given.spec.after, low
    high = clear = held(low + given.keys)
    opened = low

    def final() -> Expr:
        return TB.min(last - origin, given.queries - 1)

    def initial() -> Expr:
        return TB.max(block.first - origin, 0)

    if after is not None:
        high = held(TB.min(high, low + final() + (after + 1)))
        clear = held(TB.min(high, low + initial() + (after + 1)))
        if after < 0:
            high = held(TB.max(high, low))
    if before is not None:
        opened = held(start + final() - before)
        low = held(TB.min(high, TB.max(low, start + initial() - before)))
    return low, high, (opened, clear)


def _sequence(given: AttentionBuffers, block: QueryBlock, sequence: Expr, last: Expr, alone: Expr) -> None:
    """Attention of all lanes to the keys of one sequence; lanes of other sequences are computed but not kept."""
    sequence = held(sequence)
    origin, low = held(sequence * given.queries), held(sequence * given.keys)
    low, high, edges = _window(given, block, low, origin, last)
    low, high = live_keys(given, block, sequence, low, high)
    size = _step(given)
    base = held(TB.truncdiv(low, given.rows) * given.rows)
    steps = held(TB.max(TB.truncdiv(high - base + (size - 1), size), 1))
    top, total, peak, factor = (variable(given.tile.vector) for _ in range(4))
    lanes = given.vector
    store(top, given.splat(TB.float32(_LOWEST)), lanes)
    store(total, given.splat(TB.float32(0)), lanes)
    with TB.serial(0, steps) as step:
        begin = held(base + step * size)
        end = held(TB.min(high, begin + size))
        now = KeyStep(sequence, origin, low, high, *edges, begin, end, step == 0, step == steps - 1, alone)
        groups = held(TB.truncdiv(end - begin + (given.rows - 1), given.rows))
        store(peak, top[lanes], lanes)
        with TB.serial(0, groups) as group:
            score(given, block, now, group * given.rows, peak)
        store(factor, exp_below(top[lanes] - peak[lanes]), lanes)
        store(total, total[lanes] * factor[lanes], lanes)
        store(top, peak[lanes], lanes)
        exponentials(given, block, groups * given.rows, top, total)
        with TB.If(now.final), TB.Then():  # a live row sums to at least exp(0) = 1; a dead one to 0
            live = TB.max(total[lanes], const(1e-30, total[lanes]))
            store(total, const(1.0, live) / live, lanes)
        combine(given, block, now, factor, total)
