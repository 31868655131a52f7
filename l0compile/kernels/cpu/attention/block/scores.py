"""Scores of a group of listed keys."""

from typing import Any

from l0compile.ir.ops.attention.packed_block import EDGE
from l0compile.kernels.cpu.attention.block.groups import pattern_at
from l0compile.kernels.cpu.attention.block.state import COLUMNS, BlockBuffers, KeyGroups, RowShare
from l0compile.kernels.cpu.attention.scores import limit
from l0compile.kernels.cpu.attention.state import accumulators
from l0compile.kernels.cpu.lanes import Expr, ahead, const, const_int, held, store
from l0compile.kernels.cpu.pair import PAIR
from l0compile.kernels.tir import TB

_DEAD = float("-inf")


def score_group(given: BlockBuffers, share: RowShare, groups: KeyGroups, number: Expr, peak: Any) -> None:
    """Scores of group ``number`` of a step, to the workspace; their maximum to ``peak``."""
    columns = given.program.columns is not None
    if columns and given.spec.blocks:
        with TB.If(groups.kind[number] == COLUMNS):
            with TB.Then():
                _of_columns(given, share, groups, number, peak)
            with TB.Else():
                _of_block(given, share, groups, number, peak)
    elif columns:
        _of_columns(given, share, groups, number, peak)
    else:
        _of_block(given, share, groups, number, peak)


def _of_block(given: BlockBuffers, share: RowShare, groups: KeyGroups, number: Expr, peak: Any) -> None:
    base, spec, lanes = given.base, given.base.spec, given.base.vector
    key = held(groups.first[number])
    tile, column = held(TB.truncdiv(key, base.tile.lanes)), held(TB.truncmod(key, base.tile.lanes))
    acc = accumulators(base, base.rows)
    words = spec.dim // PAIR if spec.pairs else spec.dim
    following = held(groups.first[TB.min(number + 1, groups.count[0] - 1)])
    with TB.serial(0, words) as d:
        _ask(given, share, key, following, d, words)
        for r, total in enumerate(acc):
            value = base.splat(base.k[tile, share.queries.kv_head * words + d, column + r])
            store(total, share.queries.multiply_add(base, total[lanes], d, value), lanes)
    if spec.pairs:
        for total in acc:
            store(total, total[lanes] * const(spec.scale, total[lanes]), lanes)
    start = held(key - share.sequence * base.keys)
    places = [TB.max(TB.min(start + r, base.keys - 1), 0) for r in range(base.rows)]
    _finish(given, share, groups, number, acc, places, peak)


def _ask(given: BlockBuffers, share: RowShare, key: Expr, following: Expr, d: Expr, words: int) -> None:
    """Ask for the values of a group, and for the keys of the following one: blocks lie anywhere in memory."""
    base, spec, lanes = given.base, given.base.spec, given.base.tile.lanes
    tile, place = TB.truncdiv(following, lanes), TB.truncmod(following, lanes)
    ahead(base.k, tile, share.queries.kv_head * words + d, place)
    each, divisor = -(-spec.value_dim // words), PAIR if spec.pairs else 1
    for part in range(each):
        row = share.queries.kv_head * spec.value_dim + TB.min(d * each + part, spec.value_dim - 1)
        ahead(base.v, TB.truncdiv(key, lanes), row, TB.truncdiv(TB.truncmod(key, lanes), divisor))


def _of_columns(given: BlockBuffers, share: RowShare, groups: KeyGroups, number: Expr, peak: Any) -> None:
    base, spec, lanes = given.base, given.base.spec, given.base.vector
    first = held(groups.first[number])
    places = [held(column(given, share, first + r)) for r in range(base.rows)]
    acc = accumulators(base, base.rows)
    following = held(groups.first[TB.min(number + 1, groups.count[0] - 1)])
    with TB.serial(0, spec.dim) as d:
        _ask_rows(given, share, given.key_rows, spec.dim, following, d)
        _ask_rows(given, share, given.value_rows, spec.value_dim, first, d)
        for total, place in zip(acc, places, strict=True):
            value = given.key_rows[share.sequence, place, share.queries.kv_head * spec.dim + d]
            store(total, share.queries.multiply_add(base, total[lanes], d, base.splat(value)), lanes)
    _finish(given, share, groups, number, acc, places, peak)


def _ask_rows(given: BlockBuffers, share: RowShare, rows: Any, width: int, first: Expr, d: Expr) -> None:
    """Ask for the cache lines of the columns from place ``first`` on, a share of them with each feature ``d``."""
    base, numbers = given.base, given.base.tile.core.line_bytes // 4
    lines = -(-width // numbers)
    each = -(-base.rows * lines // base.spec.dim)
    for part in range(each):
        one = TB.min(d * each + part, base.rows * lines - 1)
        key = column(given, share, first + TB.truncdiv(one, lines))
        feature = share.queries.kv_head * width + TB.truncmod(one, lines) * numbers
        ahead(rows, share.sequence, key, feature)


def column(given: BlockBuffers, share: RowShare, place: Expr) -> Expr:
    """A listed key, by its place in the list."""
    assert given.program.columns is not None
    return given.program.columns.entry(place, given.base.keys, *share.at)


def _finish(
    given: BlockBuffers,
    share: RowShare,
    groups: KeyGroups,
    number: Expr,
    acc: list[Any],
    places: list[Expr],
    peak: Any,
) -> None:
    """Limit, bias and mask the scores of a group; ``places``: of its keys in the sequence."""
    base, lanes = given.base, given.base.vector
    limit(base, acc)
    for total, place in zip(acc, places, strict=True):
        if base.bias is not None:
            head = share.queries.head if base.spec.bias_heads > 1 else 0
            distance = share.place - place + base.keys + (EDGE - 1)
            store(total, total[lanes] + base.bias[head, TB.Ramp(distance, 1, base.tile.vector)], lanes)
        if base.mask is not None:
            _mask_key(given, share, place, total)
    _mask_pattern(given, share, groups, number, acc)
    low = TB.int64(0) if groups.low is None else held(groups.low[number])
    high = held(groups.high[number])
    with TB.If(high - low < base.rows), TB.Then():
        for r, total in enumerate(acc):
            _bound(given, total, TB.And(low <= r, r < high))
    store(peak, TB.max(peak[lanes], _largest([total[lanes] for total in acc])), lanes)
    for r, total in enumerate(acc):
        store(share.queries.work, total[lanes], share.queries.scores + number * base.rows + r, lanes)


def _mask_key(given: BlockBuffers, share: RowShare, place: Expr, total: Any) -> None:
    base, lanes = given.base, given.base.vector
    assert base.spec.mask is not None
    at = (share.sequence, share.queries.head, 0, place)
    value = base.mask[tuple(i if full else 0 for i, full in zip(at, base.spec.mask.full, strict=True))]
    if base.spec.mask.boolean:
        _bound(given, total, value)
    else:
        store(total, total[lanes] + base.splat(value), lanes)


def _mask_pattern(
    given: BlockBuffers, share: RowShare, groups: KeyGroups, number: Expr, acc: list[Any]
) -> None:
    if given.program.patterns is None:
        return
    base, lanes = given.base, given.base.vector
    kind, shift = held(groups.kind[number]), held(groups.shift[number])
    with TB.If(kind >= 0), TB.Then():
        for r, total in enumerate(acc):
            marks = given.program.patterns[pattern_at(given, share, kind, shift + r)]
            value = total[lanes]
            seen = TB.cast(marks, f"int32x{base.tile.vector}") != const_int(0, base.tile.vector)
            store(total, TB.Select(seen, value, const(_DEAD, value)), lanes)


def _bound(given: BlockBuffers, total: Any, live: Expr) -> None:
    """Kill the scores of a key that is not live, whatever they are: min(NaN, x) is x here."""
    bound = TB.Select(live, TB.float32(float("inf")), TB.float32(_DEAD))
    store(total, TB.min(total[given.base.vector], given.base.splat(bound)), given.base.vector)


def _largest(values: list[Expr]) -> Expr:
    """By halves: a chain of maxima would wait for each of them."""
    half = len(values) // 2
    return TB.max(_largest(values[:half]), _largest(values[half:])) if half else values[0]
