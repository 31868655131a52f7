"""What attention gives: values summed by the weights of a step of keys."""

from collections.abc import Iterator
from typing import Any

from l0compile.kernels.cpu.attention.state import AttentionBuffers, KeyStep, QueryBlock, accumulators
from l0compile.kernels.cpu.lanes import Expr, held, store
from l0compile.kernels.cpu.pair import PAIR
from l0compile.kernels.cpu.word_form import inverses_of
from l0compile.kernels.tir import TB


def combine(given: AttentionBuffers, block: QueryBlock, now: KeyStep, factor: Any, inverse: Any) -> None:
    """Add the values of the step's keys to sums shrunk by ``factor``; at last write them by ``inverse``."""
    width, rows = given.spec.value_dim, given.rows
    if given.spec.result:  # whole words
        each = given.spec.result.features
        rows = max(each, rows // each * each)
    if width >= rows:
        with TB.serial(0, width // rows) as i:
            _combine(given, block, now, i * rows, rows, factor, inverse)
    if width % rows:
        _combine(given, block, now, width // rows * rows, width % rows, factor, inverse)


def _combine(
    given: AttentionBuffers,
    block: QueryBlock,
    now: KeyStep,
    feature: Expr,
    rows: int,
    factor: Any,
    inverse: Any,
) -> None:
    lanes, size = given.vector, given.tile.lanes
    first = block.kv_head * given.spec.value_dim + feature
    acc = accumulators(given, rows)
    with TB.If(TB.Not(now.initial)), TB.Then():
        for r in range(rows):
            store(acc[r], block.work[block.sums + feature + r, lanes] * factor[lanes], lanes)
    begin = held(TB.max(now.begin, now.low))
    tile = held(TB.truncdiv(begin, size))
    with TB.serial(0, TB.truncdiv(TB.max(now.end, begin) + (size - 1), size) - tile) as i:
        # Keys of one tile lie side by side.
        here = held(tile + i)
        start = held(TB.max(begin, here * size))
        if given.spec.pairs:
            score, column, count = _words(given, block, now, here, start)
        else:
            score, column = held(block.scores + start - now.begin), held(start - here * size)
            count = TB.min(now.end, (here + 1) * size) - start
        with TB.serial(0, count) as j:
            for r in range(rows):
                value = given.splat(given.v[here, first + r, column + j])
                store(acc[r], block.multiply_add(given, acc[r][lanes], score + j, value), lanes)
    _write(given, block, now, feature, rows, acc, inverse)


def _words(
    given: AttentionBuffers, block: QueryBlock, now: KeyStep, here: Expr, start: Expr
) -> tuple[Expr, Expr, Expr]:
    """(row of the first word of weights, place of the first word of values, number of words) of the keys of a tile.

    A word may hold a key before the first or behind the last: its weight is 0.
    """
    origin, end = here * given.tile.lanes, TB.min(now.end, (here + 1) * given.tile.lanes)
    score = held(block.scores + TB.truncdiv(start - now.begin, PAIR))
    column = held(TB.truncdiv(start - origin, PAIR))
    return score, column, TB.truncdiv(end - origin + (PAIR - 1), PAIR) - column


def _write(
    given: AttentionBuffers,
    block: QueryBlock,
    now: KeyStep,
    feature: Expr,
    rows: int,
    acc: list[Any],
    inverse: Any,
) -> None:
    lanes, vector = given.vector, given.tile.vector
    out = block.lanes(given)
    with TB.If(now.final):
        with TB.Then(), TB.If(now.alone):
            with TB.Then():
                for row, value in _results(given, block, feature, rows, acc, inverse):
                    store(given.y, value, block.tile, row, out)
            with TB.Else():
                first = TB.cast(block.first - now.origin, "int32")
                positions = TB.Broadcast(first, vector) + TB.Ramp(TB.int32(0), TB.int32(1), vector)
                own = positions >= TB.Broadcast(TB.int32(0), vector)
                for row, value in _results(given, block, feature, rows, acc, inverse):
                    at = (block.tile, row, out)
                    store(given.y, TB.Select(own, value, given.y[at]), *at)
        with TB.Else():
            for r in range(rows):
                store(block.work, acc[r][lanes], block.sums + feature + r, lanes)


def _results(
    given: AttentionBuffers, block: QueryBlock, feature: Expr, rows: int, acc: list[Any], inverse: Any
) -> Iterator[tuple[Expr, Expr]]:
    """(row of y, what to write there) for the features from ``feature`` on."""
    lanes, form, first = given.vector, given.spec.result, block.head * given.spec.value_dim + feature
    values = [acc[r][lanes] * inverse[lanes] for r in range(rows)]
    if form is None:
        yield from ((first + r, value) for r, value in enumerate(values))
        return
    for r in range(0, rows, form.features):
        scales = inverses_of(given.inverse, first + r, form.features)
        yield (
            (first + r) // form.features,
            form.words(values[r : r + form.features], scales, given.tile.vector),
        )
