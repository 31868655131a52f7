"""Scaled dot-product attention, queries in lanes (oracle: ``l0compile::packed_attention``).

One task is one head of one tile of queries. Tokens of all sequences are packed back to back, so a tile may hold the end
of one sequence and the start of the next: it then walks the keys of every sequence it touches and masks, lane by lane,
the keys of the others. Scores of a task stay in a [keys, lanes] workspace; max, exp and sum need no horizontal step.
"""

from dataclasses import dataclass
from math import gcd

from l0compile._tvm import TB
from l0compile.kernels.lanes import (
    Expr,
    body,
    const,
    exp,
    kernel,
    local,
    param,
    scratch,
    splat,
    store,
    symbol,
    vectors,
)
from l0compile.kernels.spec import AttentionSpec, TokenTile

_KEYS = 4  # keys a microkernel scores at once; divides every tile's lanes
_DEAD = float("-inf")  # the score of a masked key
_LOWEST = -3.4028234663852886e38  # the lowest live score: models mask with it, too, and then it must count


@dataclass(frozen=True)
class _Task:
    """Positions of one task. Key numbers count from the first sequence; ``start`` is rounded down to a key group."""

    head: Expr
    kv_head: Expr
    tile: Expr
    start: Expr  # first key walked
    count: Expr  # keys walked
    mixed: Expr  # True if some walked key belongs to another sequence than some lane
    queries: Expr
    keys: Expr


def attention(spec: AttentionSpec, tile: TokenTile):  # type: ignore[no-untyped-def]
    """PrimFunc(q, k, v[, mask][, bias], batch, queries, keys, y); batch, queries and keys are int64 scalars."""
    with kernel("attention") as builder:
        q_tiles, k_tiles = symbol("q_tiles"), symbol("k_tiles")
        batch, queries, keys = symbol("batch"), symbol("queries"), symbol("keys")
        q = param("q", (q_tiles, spec.heads * spec.dim, tile.lanes))
        k = param("k", (k_tiles, spec.kv_heads * spec.dim, tile.lanes))
        v = param("v", (k_tiles, spec.kv_heads * spec.value_dim, tile.lanes))
        mask = _mask_param(spec, batch, keys)
        bias = param("bias", (spec.bias_heads, q_tiles, keys, tile.lanes)) if spec.bias_heads else None
        for name, scalar in (("batch", batch), ("queries", queries), ("keys", keys)):
            TB.arg(name, scalar)
        y = param("y", (q_tiles, spec.heads * spec.value_dim, tile.lanes))
        with body(), TB.parallel(0, spec.heads * q_tiles) as index:
            task = _task(spec, tile, index, q_tiles, batch, queries, keys)
            groups = (task.count + (_KEYS - 1)) // _KEYS
            scores = scratch((groups * _KEYS, tile.lanes))
            _score(spec, tile, task, groups, q, k, scores)
            _mask(spec, tile, task, mask, bias, scores)
            total = _softmax(tile, task, scores)
            _combine(spec, tile, task, v, scores, total, y)
    return builder.get()


def _mask_param(spec, batch, keys):  # type: ignore[no-untyped-def]
    if spec.mask is None:
        return None
    sizes = (batch, spec.heads, 1, keys)
    shape = tuple(n if full else 1 for n, full in zip(sizes, spec.mask.full, strict=True))
    return param("mask", shape, "bool" if spec.mask.boolean else "float32")


def _task(spec, tile, index, q_tiles, batch, queries, keys) -> _Task:  # type: ignore[no-untyped-def]
    head, t = TB.truncdiv(index, q_tiles), TB.truncmod(index, q_tiles)
    first = t * tile.lanes
    last = TB.min(first + tile.lanes, batch * queries) - 1
    first_sequence, last_sequence = TB.truncdiv(first, queries), TB.truncdiv(last, queries)
    start = TB.truncdiv(first_sequence * keys, _KEYS) * _KEYS
    stop = (last_sequence + 1) * keys
    if spec.causal:  # no lane of the last sequence sees a key past its own position
        stop = TB.min(stop, last_sequence * keys + (last - last_sequence * queries) + 1)
    mixed = TB.Or(first_sequence != last_sequence, start != first_sequence * keys)
    return _Task(
        head, TB.truncdiv(head, spec.heads // spec.kv_heads), t, start, stop - start, mixed, queries, keys
    )


def _score(spec, tile, task, groups, q, k, scores):  # type: ignore[no-untyped-def]
    with TB.serial(0, groups) as group:
        key = task.start + group * _KEYS
        acc = local((_KEYS, tile.lanes))
        _zero(acc, _KEYS, tile)
        with TB.serial(0, spec.dim) as d:
            f, kf = task.head * spec.dim + d, task.kv_head * spec.dim + d
            for r in range(_KEYS):
                weight = splat(k[TB.truncdiv(key, tile.lanes), kf, TB.truncmod(key, tile.lanes) + r], tile)
                for s in vectors(tile):
                    store(acc, acc[r, s] + weight * q[task.tile, f, s], r, s)
        for r in range(_KEYS):
            for s in vectors(tile):
                store(scores, acc[r, s] * const(spec.scale, acc[r, s]), group * _KEYS + r, s)


def _zero(buffer, rows, tile):  # type: ignore[no-untyped-def]
    for r in range(rows):
        for s in vectors(tile):
            store(buffer, splat(TB.float32(0), tile), r, s)


def _mask(spec, tile, task, mask, bias, scores):  # type: ignore[no-untyped-def]
    """Add masks and kill the scores of keys a lane must not see. Skipped key by key where there is nothing to do."""
    lane_sequence, lane_position = local((tile.lanes,), "int32"), local((tile.lanes,), "int32")
    for v, _ in enumerate(vectors(tile)):
        for lane in range(tile.vector):
            token = task.tile * tile.lanes + v * tile.vector + lane
            sequence = TB.truncdiv(token, task.queries)
            store(lane_sequence, TB.cast(sequence, "int32"), v * tile.vector + lane)
            store(lane_position, TB.cast(token - sequence * task.queries, "int32"), v * tile.vector + lane)
    with TB.serial(0, task.count) as i:
        key = task.start + i
        sequence = TB.truncdiv(key, task.keys)
        position = key - sequence * task.keys

        def live(s: Expr) -> Expr:
            alive = lane_sequence[s] == splat(TB.cast(sequence, "int32"), tile)
            if spec.causal:
                alive = TB.And(alive, splat(TB.cast(position, "int32"), tile) <= lane_position[s])
            return alive

        # Lanes of other sequences get something meaningless added here, and are dead below.
        if bias is not None:
            head = task.head if spec.bias_heads > 1 else 0
            for s in vectors(tile):
                store(scores, scores[i, s] + bias[head, task.tile, position, s], i, s)
        if mask is not None:
            _add_key_mask(spec, tile, mask[_mask_index(spec, sequence, task.head, position)], scores, i)
        with TB.If(TB.bool(True) if spec.causal else task.mixed), TB.Then():
            for s in vectors(tile):
                store(scores, TB.Select(live(s), scores[i, s], const(_DEAD, scores[i, s])), i, s)


def _mask_index(spec, sequence, head, key):  # type: ignore[no-untyped-def]
    return tuple(
        value if full else 0 for value, full in zip((sequence, head, 0, key), spec.mask.full, strict=True)
    )


def _add_key_mask(spec, tile, value, scores, i):  # type: ignore[no-untyped-def]
    """Apply the mask of one key that is the same for all queries of its sequence."""
    with TB.If(TB.Not(value) if spec.mask.boolean else TB.bool(True)), TB.Then():
        for s in vectors(tile):
            dead = const(_DEAD, scores[i, s])
            store(scores, dead if spec.mask.boolean else scores[i, s] + splat(value, tile), i, s)


def _softmax(tile, task, scores):  # type: ignore[no-untyped-def]
    """Turn scores into exp(score - max) in place, dead keys into exact zeros; give 1 / sum (0 where all are dead)."""
    top, total = local((tile.lanes,)), local((tile.lanes,))
    for s in vectors(tile):
        store(top, const(_DEAD, scores[0, s]), s)
        store(total, const(0.0, scores[0, s]), s)
    with TB.serial(0, task.count) as i:
        for s in vectors(tile):
            store(top, TB.max(top[s], scores[i, s]), s)
    with TB.serial(0, task.count) as i:
        for s in vectors(tile):
            score = scores[i, s]
            value = TB.Select(score >= const(_LOWEST, score), exp(score - top[s]), const(0.0, score))
            store(scores, value, i, s)
            store(total, total[s] + scores[i, s], s)
    for s in vectors(tile):  # a live row sums to at least exp(0) = 1
        store(total, const(1.0, total[s]) / TB.max(total[s], const(1e-30, total[s])), s)
    return total


def _combine(spec, tile, task, v, scores, total, y):  # type: ignore[no-untyped-def]
    rows = gcd(spec.value_dim, tile.rows)
    with TB.serial(0, spec.value_dim // rows) as block:
        f, vf = task.head * spec.value_dim + block * rows, task.kv_head * spec.value_dim + block * rows
        acc = local((rows, tile.lanes))
        _zero(acc, rows, tile)
        with TB.serial(0, task.count) as i:
            key = task.start + i
            for r in range(rows):
                weight = splat(v[TB.truncdiv(key, tile.lanes), vf + r, TB.truncmod(key, tile.lanes)], tile)
                for s in vectors(tile):
                    store(acc, acc[r, s] + weight * scores[i, s], r, s)
        for r in range(rows):
            for s in vectors(tile):
                store(y, acc[r, s] * total[s], task.tile, f + r, s)
