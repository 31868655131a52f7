"""The time of each launch of a call, by events of the stream around it."""

import ctypes
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from l0compile.lower.cuda.library import KernelFact

_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, *[ctypes.c_uint] * 7, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)


class StreamEvent(Protocol):
    """A moment of a stream."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds until ``end``, once both have come."""


@dataclass
class TimedLaunches:
    """Launches with an event before and one after each.

    Attributes:
        launch: address of a function with the parameters of cuLaunchKernel.
        event: puts an event on the stream.
        noted: (handle of the kernel, event before, event after) of each launch.
    """

    launch: int
    event: Callable[[], StreamEvent]
    noted: list[tuple[int, StreamEvent, StreamEvent]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._own, self._between = _LAUNCH(self.launch), _LAUNCH(self._timed)

    @property
    def address(self) -> int:
        """Of a function that launches, with the same parameters."""
        found = ctypes.cast(self._between, ctypes.c_void_p).value
        assert found is not None
        return found

    def _timed(self, kernel: int, *rest: Any) -> int:
        before = self.event()
        code = int(self._own(kernel, *rest))
        self.noted.append((kernel, before, self.event()))
        return code

    def times(self) -> list[tuple[int, float]]:
        """(handle of the kernel, ms) of each launch, once the stream has come to the end of them."""
        return [(kernel, before.elapsed_time(after)) for kernel, before, after in self.noted]


def by_function(
    runs: Sequence[Sequence[tuple[int, float]]], handles: Sequence[int], facts: Sequence[KernelFact]
) -> list[tuple[str, float]]:
    """(function, median ms) of each function that a call runs, in order.

    Args:
        runs: launches of the same call, several times.
        handles: of the kernels.
        facts: of the kernels, in the same order.
    """
    known = dict(zip(handles, facts, strict=True))
    launches = [
        (known[kernel], statistics.median(run[place][1] for run in runs))
        for place, (kernel, _) in enumerate(runs[0])
    ]
    # A function begins with its first kernel; what follows are its others, or another function.
    calls, found = 0, []
    for fact, ms in launches:
        calls += fact.number == 0
        found.append((calls, fact.function, ms))
    groups = groupby(found, key=lambda each: each[:2])
    return [(function, sum(ms for *_, ms in each)) for (_, function), each in groups]
