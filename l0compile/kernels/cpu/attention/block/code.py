"""Attention to listed keys, queries in lanes (oracle: ``l0compile::packed_block_attention``).

It is the attention to all keys but for the keys that a block of queries walks: those of the full blocks of its row,
then of the partial ones, then single columns. A step takes what fits in it of all these, so that sums are rescaled as
rarely as there. Blocks are read from packed keys; a group of keys that no lane sees by its pattern costs nothing.
Columns are read from keys in rows, where the features of one key lie side by side.

A block of queries may hold the end of one row and the start of the next, of the same sequence or the next one: it is
computed once for each row that it touches, and each lane keeps the result of its own.
"""

import contextlib
from typing import Any

from l0compile.kernels.cpu.attention.block.groups import next_groups, row_walk
from l0compile.kernels.cpu.attention.block.lists import program_buffers
from l0compile.kernels.cpu.attention.block.scores import score_group
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec
from l0compile.kernels.cpu.attention.block.state import STEP, BlockBuffers, RowShare, key_groups
from l0compile.kernels.cpu.attention.block.values import combine, write
from l0compile.kernels.cpu.attention.scores import exponentials, load_queries
from l0compile.kernels.cpu.attention.state import AttentionBuffers, QueryBlock
from l0compile.kernels.cpu.lanes import (
    Expr,
    body,
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

_TOGETHER = 4  # blocks of queries of one task: they read the same keys, which then come from a near cache
_LOWEST = -3.4028234663852886e38  # see attention to all keys


def block_attention(spec: BlockAttentionSpec, tile: TokenTile) -> Any:
    """PrimFunc(q[, k, v][, key rows, value rows], lists[, mask][, bias], batch, queries, keys, y)."""
    with kernel("block_attention") as builder:
        given = _buffers(spec, tile)
        base = given.base
        blocks = base.q.shape[0] * tile.vectors
        together = max(1, min(_TOGETHER, spec.q_block // tile.vector))
        units = TB.truncdiv(blocks + (together - 1), together)
        pairs = with_pairs(tile) if base.spec.pairs else contextlib.nullcontext()
        with body(), pairs, TB.parallel(0, base.spec.heads * units) as index:
            head, unit = _dealt(index, base.spec.heads, units, tile.threads)
            work = scratch((base.spec.dim + STEP + base.spec.value_dim, tile.vector))
            with TB.serial(0, TB.min(together, blocks - unit * together)) as i:
                _block(given, head, unit * together + i, work)
    return builder.get()


def _buffers(spec: BlockAttentionSpec, tile: TokenTile) -> BlockBuffers:
    own = spec.attention
    q_tiles, k_tiles = symbol("q_tiles"), symbol("k_tiles")
    batch, queries, keys = symbol("batch"), symbol("queries"), symbol("keys")
    q = param("q", (q_tiles, own.heads * own.dim, tile.lanes))
    k = v = key_rows = value_rows = mask = bias = None
    if spec.blocks:
        word, (by_features, by_tokens) = ("int32", (PAIR, PAIR)) if own.pairs else ("float32", (1, 1))
        k = param("k", (k_tiles, own.kv_heads * own.dim // by_features, tile.lanes), word)
        v = param("v", (k_tiles, own.kv_heads * own.value_dim, tile.lanes // by_tokens), word)
    if spec.columns:
        key_rows = param("key_rows", (batch, keys, own.kv_heads * own.dim))
        value_rows = param("value_rows", (batch, keys, own.kv_heads * own.value_dim))
    program = program_buffers(spec, batch)
    if own.mask is not None:
        sizes = (batch, own.heads, 1, keys)
        shape = tuple(n if full else 1 for n, full in zip(sizes, own.mask.full, strict=True))
        mask = param("mask", shape, "bool" if own.mask.boolean else "float32")
    if own.bias_heads:
        bias = param("bias", (own.bias_heads, symbol("distances")))
    for name, scalar in (("batch", batch), ("queries", queries), ("keys", keys)):
        TB.arg(name, scalar)
    width = own.heads * (own.value_dim + int(spec.log_sum_exp))
    y = param("y", (q_tiles, width, tile.lanes))
    base = AttentionBuffers(own, tile, q, k, v, mask, bias, None, y, batch, queries, keys)
    return BlockBuffers(spec, base, program, key_rows, value_rows)


def _dealt(index: Expr, heads: int, units: Expr, threads: int) -> tuple[Expr, Expr]:
    """(head, unit) of a task, so that contiguous shares of the tasks get every ``threads``-th unit.

    Rows that do much lie side by side more often than not, and heads often share their lists: the first unit of a
    share differs from head to head.
    """
    total = held(heads * units)
    each, longer = held(TB.truncdiv(total, threads)), held(TB.truncmod(total, threads))
    split = held(longer * (each + 1))
    early = index < split
    thread = TB.Select(
        early, TB.truncdiv(index, each + 1), longer + TB.truncdiv(index - split, TB.max(each, 1))
    )
    place = TB.Select(early, TB.truncmod(index, each + 1), TB.truncmod(index - split, TB.max(each, 1)))
    dealt = held(place * threads + thread)
    head = held(TB.truncdiv(dealt, units))
    turned = TB.Select(TB.truncmod(units, threads) == 0, head, TB.int64(0))
    return head, held(TB.truncmod(TB.truncmod(dealt, units) + turned, units))


def _block(given: BlockBuffers, head: Expr, number: Expr, work: Any) -> None:
    base, spec, tile = given.base, given.base.spec, given.base.tile
    number = held(number)
    t, lane = held(TB.truncdiv(number, tile.vectors)), held(TB.truncmod(number, tile.vectors) * tile.vector)
    first, tokens = held(number * tile.vector), base.batch * base.queries
    with TB.If(first < tokens):
        with TB.Then():
            kv_head = held(TB.truncdiv(head, spec.heads // spec.kv_heads))
            block = QueryBlock(head, kv_head, t, lane, first, work, spec.dim, spec.dim + STEP)
            load_queries(base, block, head)
            start = held(TB.truncdiv(first, base.queries))
            last = held(TB.min(first + tile.vector, tokens) - 1)
            with TB.serial(0, TB.truncdiv(last, base.queries) - start + 1) as i:
                _sequence(given, block, held(start + i), last, i == 0)
        with TB.Else():  # lanes past the last token hold finite values
            zero = base.splat(TB.float32(0))
            rows = [(head * spec.value_dim, spec.value_dim)]
            if given.spec.log_sum_exp:
                rows.append((spec.heads * spec.value_dim + head, 1))
            for row, count in rows:
                with TB.serial(0, count) as f:
                    store(base.y, zero, t, row + f, TB.Ramp(lane, 1, tile.vector))


def _sequence(given: BlockBuffers, block: QueryBlock, sequence: Expr, last: Expr, alone: Expr) -> None:
    base, size = given.base, given.spec.q_block
    place = held(block.first - sequence * base.queries)
    row = held(TB.truncdiv(TB.max(place, 0), size))
    end = TB.truncdiv(TB.min(last - sequence * base.queries, base.queries - 1), size)
    with TB.serial(0, held(end - row + 1)) as i:
        number = held(row + i)
        share = RowShare(block, sequence, number, held(place - number * size), place, TB.And(alone, i == 0))
        _row(given, share)


def _row(given: BlockBuffers, share: RowShare) -> None:
    """Attention of all lanes to the keys that one row lists; lanes of other rows are computed but not kept."""
    base, block, lanes = given.base, share.queries, given.base.vector
    top, total, peak, factor = (variable(base.tile.vector) for _ in range(4))
    store(top, base.splat(TB.float32(_LOWEST)), lanes)
    store(total, base.splat(TB.float32(0)), lanes)
    with TB.serial(0, base.spec.value_dim) as f:
        store(block.work, base.splat(TB.float32(0)), block.sums + f, lanes)
    size = STEP // base.rows
    groups, walk = key_groups(given, size), row_walk(given, share)
    with TB.While(walk.entry[0] < walk.end):
        next_groups(given, share, walk, groups, size)
        store(peak, top[lanes], lanes)
        with TB.serial(0, groups.count[0]) as number:
            score_group(given, share, groups, number, peak)
        store(factor, exp_below(top[lanes] - peak[lanes]), lanes)
        store(total, total[lanes] * factor[lanes], lanes)
        store(top, peak[lanes], lanes)
        exponentials(base, block, groups.count[0] * base.rows, top, total)
        combine(given, share, groups, factor)
    write(given, share, top, total)
