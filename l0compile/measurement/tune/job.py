"""What is timed."""

from dataclasses import dataclass
from typing import Any

from l0compile.hardware.costs import CostKey


@dataclass(frozen=True)
class TuningJob:
    """A workload with those of its schedules that have no record yet."""

    key: CostKey
    schedules: tuple[Any, ...]
