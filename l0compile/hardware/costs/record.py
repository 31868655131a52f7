"""One measurement of one kernel: what was computed, where, by which schedule, and in what time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DENSITIES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
"""The shares of kept blocks that kernels are measured at; each stands for those nearest to it."""

ScheduleData = tuple[tuple[str, bool | int | str], ...]
"""A schedule as plain data: (field, value) pairs, sorted by field. Empty: the kernel has no choice."""


@dataclass(frozen=True)
class KernelWorkload:
    """What a kernel computes in one call.

    Attributes:
        op: name of the kernel's definition, such as ``linear``.
        shape: sizes that the definition names; linear: (n, k), out and in features.
        block: (rows, cols) of a block-sparse weight; None: dense, or no weight.
        density: share of its blocks that are stored, one of ``DENSITIES`` when measured; 1 where there is no block.
        tokens: of all sequences together; 1 where there are none.
        variant: what else changes the code: ``gelu``, ``residual``, ``causal``; words in order, joined by ``+``.
        dtype: of the numbers.
    """

    op: str
    shape: tuple[int, ...]
    block: tuple[int, int] | None = None
    density: float = 1.0
    tokens: int = 1
    variant: str = ""
    dtype: str = "float32"

    @property
    def words(self) -> list[str]:
        """The words of the variant."""
        return self.variant.split("+") if self.variant else []


@dataclass(frozen=True)
class CostPlace:
    """Where a time holds: the device, the threads that share the work, and the compiler and code that were timed."""

    device: str
    threads: int
    versions: str


@dataclass(frozen=True)
class CostKey:
    """What a record is found by; several schedules may have been measured for one key."""

    work: KernelWorkload
    place: CostPlace


@dataclass(frozen=True)
class CostRecord:
    """One schedule of one kernel, measured.

    Attributes:
        key: what was measured, and where.
        schedule: how it was computed.
        ms: milliseconds of a call, the median of the quietest block; None when the schedule failed, ``error`` then
            says how.
        low_ms: quickest call of that block.
        high_ms: median of all blocks.
        calls: timed calls.
        date: of the measurement, ``YYYY-MM-DD``.
        error: why there is no time.
    """

    key: CostKey
    schedule: ScheduleData
    ms: float | None
    low_ms: float | None = None
    high_ms: float | None = None
    calls: int = 0
    date: str = ""
    error: str = ""

    @property
    def rank(self) -> tuple[Any, ...]:
        """Orders records of one key and schedule, best first: a time before a failure, the shorter time first.

        The rest only breaks ties, so that merging gives the same in every order.
        """
        if self.ms is None:
            return (1, self.date, self.error)
        return (0, self.ms, self.low_ms or 0.0, self.high_ms or 0.0, self.calls, self.date)


def density_class(density: float) -> float:
    """The one of ``DENSITIES`` that is nearest by ratio."""
    floor = max(density, DENSITIES[-1] / 2)
    return min(DENSITIES, key=lambda known: max(known / floor, floor / known))


def merged(records: Iterable[CostRecord]) -> dict[tuple[CostKey, ScheduleData], CostRecord]:
    """The best record of each key and schedule, by ``CostRecord.rank``; the order of ``records`` does not matter."""
    found: dict[tuple[CostKey, ScheduleData], CostRecord] = {}
    for record in records:
        identity = (record.key, record.schedule)
        if identity not in found or record.rank < found[identity].rank:
            found[identity] = record
    return found
