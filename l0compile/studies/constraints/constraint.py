"""The protocol of a constraint: what a space asks of the chosen model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from torch import nn

from l0compile.errors import ConfigError
from l0compile.measurement import Measurement
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.pruning.bounds import Bound
from l0compile.studies.result import Requirement


@dataclass(frozen=True)
class Chosen:
    """The chosen model after the final measurement.

    model: hardened, with its gates. artifact: folder of the compiled model. quality, dense_quality: of the chosen and
    the dense model on held-out data. measured: row of the final table -> latency. budget: the latency budget.
    """

    model: nn.Module
    artifact: Path
    quality: float
    dense_quality: float
    measured: Mapping[str, Measurement]
    budget: DeviceBudget


class Constraint(Protocol):
    """Something that the chosen model has to keep, from before the search to the final verdict."""

    @property
    def kind(self) -> str:
        """The word for this constraint in results, such as "latency"."""

    def plan(self, dense: nn.Module, layers: tuple[str, ...]) -> Bound | None:
        """Translate the constraint into a bound on allocations; None if it does not bound them.

        Args:
            dense: the model before pruning.
            layers: names of the linear layers that have gates.

        Raises:
            InfeasibleError: no allocation can keep the constraint.
        """

    def measure(self, chosen: Chosen) -> float:
        """Measure the chosen model."""

    def verdict(self, found: float, chosen: Chosen) -> Requirement:
        """Compare ``found``, the result of `measure`, with what was asked for."""


class Limit(Constraint, Protocol):
    """A constraint that the table ``[limits]`` of a space sets: ``key = most``."""

    @property
    def most(self) -> float:
        """The largest value allowed, in the unit of the key."""

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        """Read the value of the key.

        Args:
            value: what the file holds.
            where: file and key, for messages.

        Raises:
            ConfigError: the value is not allowed.
        """


def number(value: object, low: float, high: float, where: str) -> float:
    """Check that a value of a space is a number in [low, high].

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{where}: expected a number from {low:g} to {high:g}, got {value!r}")
    return float(value)
