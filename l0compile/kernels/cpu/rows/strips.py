"""Strips of a weight: as many of its rows as a register has lanes, whose results go to rows at once."""

from l0compile.kernels.cpu.lanes import Expr, store, variable
from l0compile.kernels.cpu.linear.blocks import LinearBuffers
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

# What beginning and storing a row costs, in columns of a weight.
_ROW_COST = 4


def strips(spec: LinearSpec, tile: TokenTile) -> int:
    """Strips of a layer."""
    return -(-spec.n // tile.vector)


def first_strip(
    spec: LinearSpec,
    tile: TokenTile,
    to: LinearBuffers,
    tiles: Expr,
    share: Expr,
    shares: int,
) -> Expr:
    """First strip of a share, of those of all tiles; for the share after the last, their number."""
    count = strips(spec, tile)
    blocks = -(-spec.n // spec.rows)

    def cost(s: Expr) -> Expr:
        """Of the strips before ``s``: numbers of the weight that are stored, and something for each row."""
        row = s * tile.vector
        j = TB.min(row // spec.rows, blocks)
        before, after = (TB.cast(to.indptr[i], "int64") for i in (j, TB.min(j + 1, blocks)))
        stored = before * spec.rows + (after - before) * (row - j * spec.rows)
        return stored * spec.cols + row * _ROW_COST

    each = variable(1, "int64")
    store(each, cost(count), 0)
    place, target, found = (variable(1, "int64") for _ in range(3))
    store(place, share * tiles * each[0] // shares, 0)
    store(target, place[0] % each[0], 0)
    store(found, TB.int64(0), 0)
    steps = count.bit_length()
    with TB.serial(0, steps) as turn:
        # The largest strip before which there is no more work than the target.
        there = TB.min(found[0] + TB.shift_left(TB.int64(1), TB.cast(steps - 1 - turn, "int64")), count)
        store(found, TB.Select(cost(there) <= target[0], there, found[0]), 0)
    return place[0] // each[0] * count + found[0]
