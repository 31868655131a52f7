"""The schedules of a linear layer: the default one, and those that a tuner may try."""

from dataclasses import replace
from itertools import product
from math import gcd

from l0compile.errors import ScheduleError
from l0compile.kernels.cpu.dot import HALVES
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.cpu.linear.wide import widens
from l0compile.kernels.token_tile import TokenTile

_UNROLLS = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # (blocks a turn, sets of accumulators)
_TILES = (1, 2, 4)
# Longer bodies inflate the code and start to spill.
_LONGEST_BODY = 160  # multiplications of registers

# Half a register of fewer numbers than this is not worth code of its own.
_NARROWEST = 4
# Widening the weights for one tile takes a tenth of the time of multiplying them.
_WIDENED_TILES = 8
# Multiplications of one register in a turn of the loop: with fewer, counting and asking for weights takes as long.
_TURN = 16


def default_schedule(spec: LinearSpec, tile: TokenTile) -> LinearSchedule:
    """All registers of a tile at once and as many rows as fit beside them; always legal.

    A dense weight, which is the larger part of what is read, is read once for two tiles; one that is block-sparse, or
    of narrow numbers, for each, so that a tile's results stay in the cache of the thread that goes on with them. One
    that is widened before it is multiplied is widened for several.
    """
    rows = spec.rows if spec.rows <= tile.rows else gcd(spec.rows, tile.rows)
    if widens(spec, tile):
        fit = tile.core.tile_bytes // (4 * HALVES * spec.k * tile.lanes)
        return LinearSchedule(rows, tile.vectors, tiles=max(1, min(_WIDENED_TILES, fit)))
    few = 8 * spec.k * tile.lanes <= tile.core.tile_bytes
    large = spec.dense and spec.numbers == "float32"
    return LinearSchedule(rows, tile.vectors, tiles=2 if large and few else 1)


def one_register(spec: LinearSpec, tile: TokenTile, rows: int) -> LinearSchedule:
    """One register of tokens, ``rows`` rows, with as many sums as keep the multipliers busy."""
    sums = max(1, min(4, tile.core.accumulators // rows))
    return LinearSchedule(rows, 1, 1 if spec.cols >= sums else max(sums, _TURN // rows), sums)


def half_register(tile: TokenTile) -> int:
    """Lanes of half a register, 0 where there is no such thing."""
    half = tile.vector // 2
    return half if half >= _NARROWEST else 0


def check_schedule(spec: LinearSpec, tile: TokenTile, schedule: LinearSchedule) -> None:
    """Check that a schedule cuts blocks and tiles evenly and fits the registers.

    Raises:
        ScheduleError: it does not, or the accumulators, the tokens of one column and a weight need more registers.
    """
    if min(schedule.rows, schedule.vectors, schedule.unroll, schedule.sums, schedule.tiles) < 1:
        raise ScheduleError(f"{schedule}: expected numbers of at least 1")
    if spec.rows % schedule.rows or tile.vectors % schedule.vectors or schedule.unroll % schedule.sums:
        raise ScheduleError(
            f"{schedule}: expected rows dividing {spec.rows} (block rows), vectors dividing {tile.vectors} (of a tile) "
            "and sums dividing unroll"
        )
    if spec.result and (schedule.rows % spec.result.features or spec.n % spec.rows):
        raise ScheduleError(
            f"{schedule}: expected rows divisible by {spec.result.features}, and n ({spec.n}) by the rows of a block "
            f"({spec.rows}): results are written as words of {spec.result.features} rows"
        )
    needed = schedule.sums * schedule.rows * schedule.vectors + schedule.vectors + 1
    if needed > tile.registers:
        raise ScheduleError(
            f"{schedule}: expected sums * rows * vectors + vectors + 1 of at most {tile.registers} registers, "
            f"got {needed}; take fewer rows, vectors or sums"
        )


def legal_schedules(spec: LinearSpec, tile: TokenTile) -> tuple[LinearSchedule, ...]:
    """The default schedule first, then what fits the registers and is worth a try; a few dozen at most."""
    default = default_schedule(spec, tile)
    rows = [r for r in range(1, min(spec.rows, tile.registers) + 1) if spec.rows % r == 0]
    vectors = [v for v in range(1, tile.vectors + 1) if tile.vectors % v == 0]
    found = [default, *(replace(default, tiles=tiles) for tiles in _TILES if tiles != default.tiles)]
    for r, v, (unroll, sums) in product(rows, vectors, _UNROLLS):
        schedule = LinearSchedule(r, v, unroll, sums, default.tiles)
        if schedule != default and _worth_a_try(spec, tile, schedule):
            found.append(schedule)
    return tuple(found)


def _worth_a_try(spec: LinearSpec, tile: TokenTile, schedule: LinearSchedule) -> bool:
    try:
        check_schedule(spec, tile, schedule)
    except ScheduleError:
        return False
    accumulators = schedule.rows * schedule.vectors * schedule.sums
    body = schedule.rows * schedule.vectors * schedule.unroll * min(spec.cols, 8)
    # Fewer accumulators leave the multipliers waiting for their own results.
    return accumulators >= tile.core.latency and (schedule.unroll == 1 or body <= _LONGEST_BODY)


def cycles_bound(schedule: LinearSchedule, tile: TokenTile) -> float:
    """Least cycles of one multiplication of registers.

    A core begins one multiplication a cycle, loads a register of tokens in two (they come from the second cache) and
    broadcasts two weights in one; a sum is not added to before it is ready.
    """
    multiplications = schedule.rows * schedule.vectors
    loads = 2 * schedule.vectors + schedule.rows / 2
    waiting = tile.core.latency / schedule.sums
    return max(multiplications, loads, waiting) / multiplications
