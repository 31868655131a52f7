"""The schedules of a linear layer that a tuner may try."""

from dataclasses import replace
from itertools import product

from l0compile.errors import ScheduleError
from l0compile.kernels.cpu.linear import check_schedule, default_schedule
from l0compile.kernels.spec import LinearSchedule, LinearSpec, TokenTile

_UNROLLS = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # (blocks a turn, sets of accumulators)
_TILES = (1, 2, 4)
# Longer bodies inflate the code and start to spill.
_LONGEST_BODY = 160  # multiplications of registers
# Fewer accumulators than this leave the multipliers waiting for their own results.
_FEWEST_ACCUMULATORS = 4


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
    return accumulators >= _FEWEST_ACCUMULATORS and (schedule.unroll == 1 or body <= _LONGEST_BODY)
