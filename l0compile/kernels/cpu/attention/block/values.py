"""Values of listed keys, summed by their weights."""

from typing import Any

from l0compile.kernels.cpu.attention.block.scores import column
from l0compile.kernels.cpu.attention.block.state import COLUMNS, BlockBuffers, KeyGroups, RowShare
from l0compile.kernels.cpu.attention.state import accumulators
from l0compile.kernels.cpu.lanes import Expr, const, held, log, store, variable
from l0compile.kernels.cpu.pair import PAIR
from l0compile.kernels.tir import TB


def combine(given: BlockBuffers, share: RowShare, groups: KeyGroups, factor: Any) -> None:
    """Add the values of the step's keys to sums shrunk by ``factor``."""
    width, rows = given.base.spec.value_dim, given.base.rows
    if width >= rows:
        with TB.serial(0, width // rows) as i:
            _combine(given, share, groups, i * rows, rows, factor)
    if width % rows:
        _combine(given, share, groups, width // rows * rows, width % rows, factor)


def _combine(
    given: BlockBuffers, share: RowShare, groups: KeyGroups, feature: Expr, rows: int, factor: Any
) -> None:
    base, block, lanes = given.base, share.queries, given.base.vector
    first = block.kv_head * base.spec.value_dim + feature
    acc = accumulators(base, rows)
    for r, total in enumerate(acc):
        store(total, block.work[block.sums + feature + r, lanes] * factor[lanes], lanes)
    with TB.serial(0, groups.count[0]) as number:
        if given.program.columns is not None and given.spec.blocks:
            with TB.If(groups.kind[number] == COLUMNS):
                with TB.Then():
                    _add_columns(given, share, groups, number, first, acc)
                with TB.Else():
                    _add_block(given, share, groups, number, first, acc)
        elif given.program.columns is not None:
            _add_columns(given, share, groups, number, first, acc)
        else:
            _add_block(given, share, groups, number, first, acc)
    for r, total in enumerate(acc):
        store(block.work, total[lanes], block.sums + feature + r, lanes)


def _add_block(
    given: BlockBuffers, share: RowShare, groups: KeyGroups, number: Expr, first: Expr, acc: list[Any]
) -> None:
    base, lanes, size = given.base, given.base.vector, given.base.tile.lanes
    key, low, high = groups.first[number], groups.low[number], groups.high[number]
    row = share.queries.scores + number * base.rows
    if base.spec.pairs:  # a word may hold a key before the first or behind the last: its weight is 0
        low, high, size = TB.truncdiv(low, PAIR), TB.truncdiv(high + (PAIR - 1), PAIR), size // PAIR
        key, row = TB.truncdiv(key, PAIR), share.queries.scores + number * (base.rows // PAIR)
    low = held(low)
    tile, place, row = held(TB.truncdiv(key, size)), held(TB.truncmod(key, size) + low), held(row + low)
    with TB.serial(0, held(high - low)) as j:
        for r, total in enumerate(acc):
            value = base.splat(base.v[tile, first + r, place + j])
            store(total, share.queries.multiply_add(base, total[lanes], row + j, value), lanes)


def _add_columns(
    given: BlockBuffers, share: RowShare, groups: KeyGroups, number: Expr, first: Expr, acc: list[Any]
) -> None:
    base, lanes = given.base, given.base.vector
    start, row = held(groups.first[number]), held(share.queries.scores + number * base.rows)
    with TB.serial(0, groups.high[number]) as j:
        key = held(column(given, share, start + j))
        for r, total in enumerate(acc):
            value = base.splat(given.value_rows[share.sequence, key, first + r])
            store(total, share.queries.multiply_add(base, total[lanes], row + j, value), lanes)


def write(given: BlockBuffers, share: RowShare, top: Any, total: Any) -> None:
    """The results of the row's lanes: sums over ``total``, and the logarithm of it above ``top``."""
    base, spec, lanes = given.base, given.base.spec, given.base.vector
    live = TB.max(total[lanes], const(1e-30, total[lanes]))  # a live row sums to at least exp(0) = 1
    inverse = variable(base.tile.vector)
    store(inverse, const(1.0, live) / live, lanes)
    block, width = share.queries, spec.value_dim
    with TB.serial(0, width) as f:
        _keep(given, share, block.head * width + f, block.work[block.sums + f, lanes] * inverse[lanes])
    if given.spec.log_sum_exp:
        some = total[lanes] > const(0.0, total[lanes])
        found = TB.Select(some, top[lanes] + log(live), const(float("-inf"), live))
        _keep(given, share, spec.heads * width + block.head, found)


def _keep(given: BlockBuffers, share: RowShare, row: Expr, value: Expr) -> None:
    """Write a feature of the lanes from the row's first one on."""
    base, vector = given.base, given.base.tile.vector
    at = (share.queries.tile, row, share.queries.lanes(base))
    with TB.If(share.alone):
        with TB.Then():
            store(base.y, value, *at)
        with TB.Else():
            places = TB.Broadcast(TB.cast(share.offset, "int32"), vector) + TB.Ramp(
                TB.int32(0), TB.int32(1), vector
            )
            own = places >= TB.Broadcast(TB.int32(0), vector)
            store(base.y, TB.Select(own, value, base.y[at]), *at)
