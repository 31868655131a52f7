"""From products to scores: factor, soft-cap, bias and masks, in the order of the operators."""

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda.attention.engine import ProductEngine
from l0compile.kernels.cuda.attention.key_source import KeySource
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.ptx import kept
from l0compile.kernels.tir import TB

_DEAD = float("-inf")


def finish_scores(
    given: CudaOperands, tile: QueryTile, engine: ProductEngine, keys: KeySource, step: Expr
) -> None:
    """Turn the products of a step into scores; those of a plain spec still lack their factor."""
    spec = given.spec
    if not spec.plain:
        _scale(given, engine)
    if spec.mask is not None or spec.bias is not None:
        _add(given, tile, engine, keys, step)
    with TB.If(TB.Not(keys.clear(step))), TB.Then():
        rows = [keys.of_row(engine.row(row)) for row in engine.rows]
        for column in engine.columns:
            mark = keys.of_column(step, engine.column(column))
            for row, place in zip(rows, (engine.score(row, column) for row in engine.rows), strict=True):
                score = TB.Select(keys.seen(row, mark), engine.scores[place], TB.float32(_DEAD))
                store(engine.scores, score, place)


def _scale(given: CudaOperands, engine: ProductEngine) -> None:
    spec, cap = given.spec, given.spec.softcap
    for row in engine.rows:
        for column in engine.columns:
            place = engine.score(row, column)
            value = engine.scores[place] * TB.float32(spec.scale)
            if cap:
                value = TB.tanh(engine.scores[place] * TB.float32(spec.scale / cap)) * TB.float32(cap)
            store(engine.scores, value, place)


def _add(given: CudaOperands, tile: QueryTile, engine: ProductEngine, keys: KeySource, step: Expr) -> None:
    """Bias, then mask, column by column."""
    last = TB.cast(given.queries - 1, "int32")
    queries = [kept(TB.min(tile.first + engine.row(row), last)) for row in engine.rows]
    for column in engine.columns:
        key = kept(keys.key(step, engine.column(column)))
        for row, query in zip(engine.rows, queries, strict=True):
            place = engine.score(row, column)
            if given.bias is not None:
                bias = _bias(given, tile, query, key)
                store(engine.scores, engine.scores[place] + bias, place)
            if given.mask is not None:
                store(engine.scores, _masked(given, tile, engine.scores[place], query, key), place)


def _bias(given: CudaOperands, tile: QueryTile, query: Expr, key: Expr) -> Expr:
    assert given.spec.bias is not None
    head = tile.head if given.spec.bias.heads else 0
    distance = TB.cast(query - key, "int64") + given.keys - 1
    return TB.cast(given.bias[head, distance], "float32")


def _masked(given: CudaOperands, tile: QueryTile, score: Expr, query: Expr, key: Expr) -> Expr:
    mask = given.spec.mask
    assert mask is not None
    at = (tile.sequence, tile.head, TB.cast(query, "int64"), TB.cast(key, "int64"))
    value = given.mask[tuple(i if full else 0 for i, full in zip(at, mask.full, strict=True))]
    if mask.boolean:
        return TB.Select(value, score, TB.float32(_DEAD))
    return score + TB.cast(value, "float32")
