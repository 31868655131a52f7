"""Attention weights: scores of a step of keys, masked, and their exponentials."""

from typing import Any

from l0compile.kernels.cpu.attention.state import AttentionBuffers, KeyStep, QueryBlock, accumulators
from l0compile.kernels.cpu.lanes import Expr, const, exp_below, held, store, tanh, variable
from l0compile.kernels.cpu.pair import PAIR, pair_word
from l0compile.kernels.tir import TB

_DEAD = float("-inf")  # the score of a masked key


def load_queries(given: AttentionBuffers, block: QueryBlock, head: Expr) -> None:
    """Bring the queries of a block of ``head`` to the workspace: by the scale, or in words of two features."""
    spec, lanes = given.spec, block.lanes(given)

    def query(d: Expr) -> Expr:
        return given.q[block.tile, head * spec.dim + d, lanes]

    if spec.pairs:
        with TB.serial(0, spec.dim // PAIR) as d:
            block.store_words(given, pair_word(query(PAIR * d), query(PAIR * d + 1), given.tile.vector), d)
    else:
        with TB.serial(0, spec.dim) as d:
            store(block.work, query(d) * const(spec.scale, query(d)), d, given.vector)


def score(given: AttentionBuffers, block: QueryBlock, now: KeyStep, row: Expr, peak: Any) -> None:
    """Scores of ``rows`` keys from the step's key ``row`` on, to the workspace; their maximum to ``peak``."""
    rows, lanes, spec = given.rows, given.vector, given.spec
    key = held(now.begin + row)
    tile, column = held(TB.truncdiv(key, given.tile.lanes)), held(TB.truncmod(key, given.tile.lanes))
    acc = accumulators(given, rows)
    words = spec.dim // PAIR if spec.pairs else spec.dim
    with TB.serial(0, words) as d:
        for r in range(rows):
            key_word = given.splat(given.k[tile, block.kv_head * words + d, column + r])
            store(acc[r], block.multiply_add(given, acc[r][lanes], d, key_word), lanes)
    if spec.pairs:
        for register in acc:
            store(register, register[lanes] * const(spec.scale, register[lanes]), lanes)
    limit(given, acc)
    _mask(given, block, now, key, acc)
    store(peak, TB.max(peak[lanes], _largest([register[lanes] for register in acc])), lanes)
    for r in range(rows):
        store(block.work, acc[r][lanes], block.scores + row + r, lanes)


def limit(given: AttentionBuffers, acc: list[Any]) -> None:
    """Softcap: scores s become cap * tanh(s / cap)."""
    cap, lanes = given.spec.softcap, given.vector
    if cap:
        for total in acc:
            value = total[lanes]
            store(total, tanh(value * const(1.0 / cap, value)) * const(cap, value), lanes)


def _largest(values: list[Expr]) -> Expr:
    """By halves: a chain of maxima would wait for each of them."""
    half = len(values) // 2
    return TB.max(_largest(values[:half]), _largest(values[half:])) if half else values[0]


def _mask(given: AttentionBuffers, block: QueryBlock, now: KeyStep, key: Expr, acc: list[Any]) -> None:
    """Add masks to the scores of a group of keys and kill those that a lane, or every lane, must not see."""
    lanes = given.vector
    start = now.sequence * given.keys
    for r in range(given.rows):
        # Rows outside the sequence read some mask of it, and are dead below.
        position = TB.max(TB.min(key + r - start, given.keys - 1), 0)
        if given.bias is not None:
            head = block.head if given.spec.bias_heads > 1 else 0
            added = given.bias[head, block.tile, position, block.lanes(given)]
            store(acc[r], acc[r][lanes] + added, lanes)
        if given.mask is not None:
            _key_mask(given, given.mask[_index(given, now.sequence, block.head, position)], acc, r)
    inside = TB.And(key >= now.low, key + given.rows <= now.high)
    with TB.If(TB.Not(inside)), TB.Then():
        for r in range(given.rows):
            live = TB.And(key + r >= now.low, key + r < now.high)
            bound = given.splat(TB.Select(live, TB.float32(float("inf")), TB.float32(_DEAD)))
            store(acc[r], TB.min(acc[r][lanes], bound), lanes)
    if given.spec.after is not None:
        with TB.If(key + given.rows > now.clear), TB.Then():
            _edge(given, block, now, key, acc, given.spec.after, later=True)
    if given.spec.before is not None:
        with TB.If(key < now.opened), TB.Then():
            _edge(given, block, now, key, acc, -given.spec.before, later=False)


def live_keys(
    given: AttentionBuffers, block: QueryBlock, sequence: Expr, low: Expr, high: Expr
) -> tuple[Expr, Expr]:
    """[low, high) without the keys that the mask of all queries kills at both ends, so that padding costs nothing."""
    if given.spec.mask is None or not given.spec.mask.full[3]:
        return low, high
    boolean = given.spec.mask.boolean
    start, first, last = sequence * given.keys, variable(1, "int64"), variable(1, "int64")

    def dead(key: Expr) -> Expr:
        value = given.mask[_index(given, sequence, block.head, TB.max(key - start, 0))]
        return TB.Not(value) if boolean else value == TB.float32(_DEAD)

    store(first, low, 0)
    store(last, high, 0)
    with TB.While(TB.And(last[0] > low, dead(last[0] - 1))):
        store(last, last[0] - 1, 0)
    with TB.While(TB.And(first[0] < last[0], dead(TB.min(first[0], high - 1)))):
        store(first, first[0] + 1, 0)
    return first[0], last[0]


def _key_mask(given: AttentionBuffers, value: Expr, acc: list[Any], r: int) -> None:
    """The mask of one key that is the same for all queries of its sequence."""
    lanes = given.vector
    if given.spec.mask is not None and given.spec.mask.boolean:
        # min(NaN, x) is x here: what is dead is dead whatever its score.
        bound = TB.Select(value, TB.float32(float("inf")), TB.float32(_DEAD))
        store(acc[r], TB.min(acc[r][lanes], given.splat(bound)), lanes)
    else:
        store(acc[r], acc[r][lanes] + given.splat(value), lanes)


def _index(given: AttentionBuffers, *at: Expr) -> tuple[Expr, ...]:
    sequence, head, position = at
    assert given.spec.mask is not None
    full = given.spec.mask.full
    return tuple(
        value if wide else 0 for value, wide in zip((sequence, head, 0, position), full, strict=True)
    )


def _edge(
    given: AttentionBuffers,
    block: QueryBlock,
    now: KeyStep,
    key: Expr,
    acc: list[Any],
    shift: int,
    later: bool,
) -> None:
    """Kill the keys that are later, or else earlier, than a lane's own position plus ``shift``."""
    lanes, vector = given.vector, given.tile.vector
    first = TB.cast(block.first - now.origin, "int32")
    positions = TB.Broadcast(first, vector) + TB.Ramp(TB.int32(0), TB.int32(1), vector)
    start = now.sequence * given.keys
    for r in range(given.rows):
        position = given.splat(TB.cast(key + (r - shift) - start, "int32"))
        score, seen = acc[r][lanes], position <= positions if later else position >= positions
        store(acc[r], TB.Select(seen, score, const(_DEAD, score)), lanes)


def exponentials(given: AttentionBuffers, block: QueryBlock, count: Expr, top: Any, total: Any) -> None:
    """Turn ``count`` rows of scores into exp(score - top), dead ones into exact zeros, and add them to ``total``."""
    lanes, unroll = given.vector, 4
    with TB.serial(0, TB.truncdiv(count, unroll)) as i:
        for r in range(unroll):
            row = block.scores + i * unroll + r
            store(block.work, exp_below(block.work[row, lanes] - top[lanes]), row, lanes)
        rows = [block.work[block.scores + i * unroll + r, lanes] for r in range(unroll)]
        store(total, total[lanes] + ((rows[0] + rows[1]) + (rows[2] + rows[3])), lanes)
        if given.spec.pairs:
            # In the place of scores that are read: words are half as many as keys.
            for r in range(0, unroll, PAIR):
                place = block.scores + (i * unroll + r) // PAIR
                block.store_words(given, pair_word(rows[r], rows[r + 1], given.tile.vector), place)
