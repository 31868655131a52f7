"""One kernel by itself: generate its code, look at it, and time it."""

import datetime
import functools
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile._tvm import runtime, tvm, tvm_target
from l0compile.costs import Work
from l0compile.kernels import LinearSchedule, TokenTile, emit
from l0compile.schedule.work import spec_of
from l0compile.targets import Target
from l0compile.tune.operands import operands

# A register stored to the stack: accumulators that did not fit. (AT&T syntax; NEON spills as `str q0, [sp, #16]`.)
_SPILL = re.compile(r"\tvmov[a-z0-9]+\s+%[xyz]mm\d+, -?\d*\(%r[sb]p\)|\tst[rp]\s+q\d+.*\[sp")

_BLOCKS = 4


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a call, between which bounds, the number of timed calls, and the day."""

    ms: float
    low_ms: float
    high_ms: float
    calls: int
    date: str


def build_kernel(
    work: Work, schedule: LinearSchedule | None, tile: TokenTile, target: Target, path: Path
) -> int:
    """Write a kernel as a shared library at ``path``; returns the registers that its code stores to the stack.

    Raises: ScheduleError for a schedule that does not fit, and whatever the code generator raises.
    """
    function = emit(spec_of(work, tile), tile, schedule).with_attr("global_symbol", "main")
    executable = tvm.compile(function, target=tvm_target(target))
    executable.export_library(str(path))
    return spills(executable.mod.inspect_source("asm"))


def spills(assembly: str) -> int:
    """How many vector registers the code stores to the stack."""
    return len(_SPILL.findall(assembly))


def time_kernel(path: Path, work: Work, tile: TokenTile, seconds: float) -> Timing:
    """Time the library at ``path``: back-to-back calls for about ``seconds``, in blocks, weights taking turns.

    The time is that of the quietest block: what else the machine does only ever adds to it. The interval reaches to
    the median block.
    """
    call = runtime.load_module(str(path))["main"]
    sets = _operands(work, tile)
    _pass(call, sets)
    blocks = [_block(call, sets, seconds / _BLOCKS) for _ in range(_BLOCKS)]
    best = min(blocks, key=statistics.median)
    calls = sum(map(len, blocks)) * len(sets)
    low, high = min(best), statistics.median(map(statistics.median, blocks))
    ms, low, high = (float(f"{value:.4g}") for value in (statistics.median(best), low, high))
    return Timing(ms, low, high, calls, datetime.date.today().isoformat())


@functools.lru_cache(maxsize=1)
def _operands(work: Work, tile: TokenTile) -> list[tuple[Any, ...]]:
    """The schedules of one work are timed one after another, and making its operands takes longer than that."""
    return operands(spec_of(work, tile), work, tile)


def _block(call: Any, sets: list[tuple[Any, ...]], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        times.append(_pass(call, sets))
    return times


def _pass(call: Any, sets: list[tuple[Any, ...]]) -> float:
    """Mean milliseconds of one call with each set of operands."""
    start = time.perf_counter_ns()
    for arguments in sets:
        call(*arguments)
    return (time.perf_counter_ns() - start) * 1e-6 / len(sets)
