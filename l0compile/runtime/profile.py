"""Time each function of a compiled program in one call, and find the region that it belongs to."""

import os
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from l0compile.errors import L0CompileError
from l0compile.hardware._tvm_runtime import VirtualMachine
from l0compile.ir.records import Launch
from l0compile.runtime.account import FunctionTime

# Memory, shapes and tuples: what the virtual machine does between kernels.
_NOT_COMPUTING = ("vm.", "shape_func")
_LEAST, _MOST = 5, 200


def time_call(call: Callable[[], Any], seconds: float) -> tuple[float, int]:
    """Return median ms and number of back-to-back calls during about ``seconds``, after one to warm up."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST or (time.perf_counter() < end and len(times) < _MOST):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) * 1e-6)
    return statistics.median(times), len(times)


def time_functions(executable: Any, inputs: Sequence[Any], repeats: int) -> list[tuple[str, float]]:
    """Return (name, median ms) of each function that a call runs, in order, each in a launch of its own.

    The virtual machine reports the beginning and the end of every call. The report takes about a microsecond, outside
    the interval.
    """
    machine = VirtualMachine(executable)
    events: list[tuple[str, int]] = []

    def note(_function: Any, name: str, before: bool, _result: Any, *_arguments: Any) -> None:
        if not name.startswith(_NOT_COMPUTING):
            events.append((name if before else "", time.perf_counter_ns()))

    steps = machine["steps"]
    steps(*inputs)
    machine.set_instrument(note)
    runs = []
    for _ in range(repeats):
        events.clear()
        steps(*inputs)
        runs.append([(events[i][0], events[i + 1][1] - events[i][1]) for i in range(0, len(events), 2)])
    names = [name for name, _ in runs[0]]
    return [(name, statistics.median(run[i][1] for run in runs) * 1e-6) for i, name in enumerate(names)]


def attribute(times: Iterable[tuple[str, float]], launches: Iterable[Launch]) -> tuple[FunctionTime, ...]:
    """Give each launch of our kernels its region: launches of one kernel keep the order of the program.

    Raises:
        L0CompileError: the program ran a kernel more or less often than was recorded, which is a defect of ours.
    """
    waiting: defaultdict[str, deque[Launch]] = defaultdict(deque)
    for launch in launches:
        waiting[launch.function].append(launch)
    found = []
    for name, ms in times:
        if name not in waiting:
            found.append(FunctionTime(name, "ordinary", None, None, ms))
            continue
        if not waiting[name]:
            raise L0CompileError(f"profile: {name} ran oftener than recorded; please report the model")
        launch = waiting[name].popleft()
        found.append(FunctionTime(name, "kernel", launch.region, launch.where, ms))
    if missing := [name for name, rest in waiting.items() if rest]:
        raise L0CompileError(f"profile: {missing[0]} ran less often than recorded; please report the model")
    return tuple(found)


def worker_threads(cores: int) -> int:
    """Return the number of threads that kernels are spread over."""
    return int(os.environ.get("TVM_NUM_THREADS", cores))
