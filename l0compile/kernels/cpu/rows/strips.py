"""Strips of a weight: as many of its rows as a register has lanes, whose results go to rows at once."""

from l0compile.kernels.cpu.lanes import Expr, store, variable
from l0compile.kernels.cpu.linear.blocks import LinearBuffers
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

# What beginning and storing a row costs, in columns of a weight.
_ROW_COST = 4


def strip_units(tile: TokenTile, schedule: LinearSchedule) -> int:
    """Units of a strip."""
    return tile.vector // schedule.rows


def strips(spec: LinearSpec, tile: TokenTile, schedule: LinearSchedule) -> int:
    """Strips of a layer."""
    return -(-spec.n // tile.vector)


def first_strip(
    spec: LinearSpec,
    tile: TokenTile,
    schedule: LinearSchedule,
    to: LinearBuffers,
    tiles: Expr,
    share: Expr,
    shares: int,
) -> Expr:
    """First strip of a share, of those of all tiles; for the share after the last, their number."""
    count = strips(spec, tile, schedule)
    if spec.dense:
        return share * (tiles * count) // shares
    blocks = -(-spec.n // spec.rows)

    def cost(s: Expr) -> Expr:
        """Of the strips before ``s``; a block that two strips share counts for the first."""
        j = TB.min((s * tile.vector + spec.rows - 1) // spec.rows, blocks)
        return TB.cast(to.indptr[j], "int64") * spec.cols * spec.rows + s * (_ROW_COST * tile.vector)

    each = variable(1, "int64")
    store(each, cost(count), 0)
    target, found = variable(1, "int64"), variable(1, "int64")
    place = variable(1, "int64")
    store(place, share * tiles * each[0] // shares, 0)
    store(target, place[0] % each[0], 0)
    store(found, TB.int64(0), 0)
    steps = count.bit_length()
    with TB.serial(0, steps) as turn:
        there = TB.min(found[0] + TB.shift_left(TB.int64(1), TB.cast(steps - 1 - turn, "int64")), count)
        store(found, TB.Select(cost(there) <= target[0], there, found[0]), 0)
    return place[0] // each[0] * count + found[0]
