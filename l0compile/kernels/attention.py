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
_DEAD = -1e30  # the score of a masked key; real scores stay far above half of it


@dataclass(frozen=True)
class _Task:
    """Positions of one task. Key numbers count from the first sequence; ``start`` is rounded down to a key group."""

    head: Expr
    tile: Expr
    start: Expr  # first key walked
    count: Expr  # keys walked
    mixed: Expr  # True if some walked key belongs to another sequence than some lane
    queries: Expr
    keys: Expr


def attention(spec: AttentionSpec, tile: TokenTile):  # type: ignore[no-untyped-def]
    """PrimFunc(q, k, v[, mask], batch, queries, keys, y); batch, queries and keys are int64 scalars."""
    width = spec.heads * spec.dim
    with kernel("attention") as builder:
        q_tiles, k_tiles = symbol("q_tiles"), symbol("k_tiles")
        batch, queries, keys = symbol("batch"), symbol("queries"), symbol("keys")
        q = param("q", (q_tiles, width, tile.lanes))
        k, v = (param(name, (k_tiles, width, tile.lanes)) for name in "kv")
        full = (batch, spec.heads, queries, keys)
        mask = (
            param("mask", tuple(n if m else 1 for n, m in zip(full, spec.mask, strict=True)), "bool")
            if spec.mask
            else None
        )
        for name, scalar in (("batch", batch), ("queries", queries), ("keys", keys)):
            TB.arg(name, scalar)
        y = param("y", (q_tiles, width, tile.lanes))
        with body(), TB.parallel(0, spec.heads * q_tiles) as index:
            task = _task(spec, tile, index, q_tiles, batch, queries, keys)
            groups = (task.count + (_KEYS - 1)) // _KEYS
            scores = scratch((groups * _KEYS, tile.lanes))
            _score(spec, tile, task, groups, q, k, scores)
            _mask(spec, tile, task, mask, scores)
            total = _softmax(tile, task, scores)
            _combine(spec, tile, task, v, scores, total, y)
    return builder.get()


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
    return _Task(head, t, start, stop - start, mixed, queries, keys)


def _score(spec, tile, task, groups, q, k, scores):  # type: ignore[no-untyped-def]
    with TB.serial(0, groups) as group:
        key = task.start + group * _KEYS
        acc = local((_KEYS, tile.lanes))
        _zero(acc, _KEYS, tile)
        with TB.serial(0, spec.dim) as d:
            f = task.head * spec.dim + d
            for r in range(_KEYS):
                weight = splat(k[TB.truncdiv(key, tile.lanes), f, TB.truncmod(key, tile.lanes) + r], tile)
                for s in vectors(tile):
                    store(acc, acc[r, s] + weight * q[task.tile, f, s], r, s)
        for r in range(_KEYS):
            for s in vectors(tile):
                store(scores, acc[r, s] * const(spec.scale, acc[r, s]), group * _KEYS + r, s)


def _zero(buffer, rows, tile):  # type: ignore[no-untyped-def]
    for r in range(rows):
        for s in vectors(tile):
            store(buffer, splat(TB.float32(0), tile), r, s)


def _mask(spec, tile, task, mask, scores):  # type: ignore[no-untyped-def]
    """Kill the scores of keys a lane must not see. Skipped key by key where nothing can be dead."""
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

        touched = TB.bool(True) if spec.causal else task.mixed
        if mask is not None and not spec.mask[2]:
            seen = mask[_mask_index(spec, sequence, task.head, 0, position)]
            touched = TB.Or(touched, TB.Not(seen))
        elif mask is not None:
            touched, seen = TB.bool(True), None
        with TB.If(touched), TB.Then():
            for s in vectors(tile):
                value = TB.Select(live(s), scores[i, s], const(_DEAD, scores[i, s]))
                store(scores, value, i, s)
            if mask is not None:
                _apply_user_mask(spec, tile, task, mask, scores, i, sequence, position, lane_position)


def _mask_index(spec, sequence, head, query, key):  # type: ignore[no-untyped-def]
    return tuple(
        value if full else 0 for value, full in zip((sequence, head, query, key), spec.mask, strict=True)
    )


def _apply_user_mask(spec, tile, task, mask, scores, i, sequence, position, lane_position):  # type: ignore[no-untyped-def]
    if not spec.mask[2]:
        with TB.If(TB.Not(mask[_mask_index(spec, sequence, task.head, 0, position)])), TB.Then():
            for s in vectors(tile):
                store(scores, const(_DEAD, scores[i, s]), i, s)
        return
    with TB.serial(0, tile.lanes) as lane:  # a column of the mask: one scalar per query
        query = TB.cast(lane_position[lane], "int64")
        with TB.If(TB.Not(mask[_mask_index(spec, sequence, task.head, query, position)])), TB.Then():
            store(scores, TB.float32(_DEAD), i, lane)


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
            value = TB.Select(score > const(_DEAD / 2, score), exp(score - top[s]), const(0.0, score))
            store(scores, value, i, s)
            store(total, total[s] + scores[i, s], s)
    for s in vectors(tile):  # a live row sums to at least exp(0) = 1
        store(total, const(1.0, total[s]) / TB.max(total[s], const(1e-30, total[s])), s)
    return total


def _combine(spec, tile, task, v, scores, total, y):  # type: ignore[no-untyped-def]
    rows = gcd(spec.dim, tile.rows)
    with TB.serial(0, spec.dim // rows) as block:
        f = task.head * spec.dim + block * rows
        acc = local((rows, tile.lanes))
        _zero(acc, rows, tile)
        with TB.serial(0, task.count) as i:
            key = task.start + i
            for r in range(rows):
                weight = splat(v[TB.truncdiv(key, tile.lanes), f + r, TB.truncmod(key, tile.lanes)], tile)
                for s in vectors(tile):
                    store(acc, acc[r, s] + weight * scores[i, s], r, s)
        for r in range(rows):
            for s in vectors(tile):
                store(y, acc[r, s] * total[s], task.tile, f + r, s)
