"""A candidate that was compiled and measured to fit a budget, and its record in the study."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from l0compile.measurement import Ratio
from l0compile.studies.fit.fit import HIGHEST, Fitted
from l0compile.studies.pruning.allocation import Menu
from l0compile.studies.result import Candidate
from l0compile.studies.study.state import FinalistRecord
from l0compile.studies.study.trial import Trial
from l0compile.tasks import Trained


@dataclass(frozen=True)
class Finalist:
    """A fitted candidate.

    trial: the trial it was made from. qualities: on validation data after each round of brief training, at least one.
    wanted: its budget over the search's.
    """

    trial: Trial
    fitted: Fitted
    qualities: tuple[float, ...]
    wanted: float

    @property
    def quality(self) -> float:
        """The quality after the last round."""
        return self.qualities[-1]

    @property
    def fast_enough(self) -> bool:
        """Whether it keeps its own budget."""
        return self.fitted.load <= HIGHEST * self.wanted

    def candidate(self, budget_ms: float) -> Candidate:
        """Convert this finalist to a `Candidate`, in milliseconds of the minute it was measured in."""
        found = self.fitted
        low, high = found.between or (found.load, found.load)
        scale = found.latency.median_ms / (found.load * budget_ms)
        return Candidate(
            self.trial.number, found.choices.to_params(), "fitted", found.latency, self.quality,
            rounds=len(self.qualities), layers=found.allocation.to_json(),
            wanted_ms=scale * self.wanted * budget_ms, predicted_ms=scale * found.predicted_ms,
            load=Ratio(found.load, low, high),
        )  # fmt: skip

    def record(self) -> FinalistRecord:
        """Convert this finalist to its record in the study."""
        found = self.fitted
        levels = {name: (level.block, level.number) for name, level in found.allocation.layers.items()}
        return FinalistRecord(
            self.trial.number, self.qualities, self.wanted, found.structure, found.latency, found.load,
            found.predicted_ms, found.allocation.gap, levels, between=found.between,
            precisions=found.allocation.precisions,
        )  # fmt: skip


def finalist_of(record: FinalistRecord, menu: Menu, trials: Mapping[int, Trial]) -> Finalist | None:
    """Restore a finalist from its record; None if its trial or one of its levels no longer exists."""
    trial, allocation = trials.get(record.trial), menu.restored(record.levels, record.precisions)
    if trial is None or allocation is None:
        return None
    fitted = Fitted(
        trial.choices, replace(allocation, gap=record.gap), record.structure, record.latency, record.load,
        record.predicted_ms, record.between,
    )  # fmt: skip
    return Finalist(trial, fitted, record.qualities, record.wanted)


@dataclass(frozen=True)
class Winner:
    """The chosen finalist after its training.

    model: hardened, with its gates, in float32. history: what was trained -> the training. rounded: the model with the
    precisions of its layers; None if they are all float32.
    """

    finalist: Finalist
    model: nn.Module
    history: Mapping[str, Trained]
    rounded: nn.Module | None = None

    @property
    def final(self) -> nn.Module:
        """The model that is compiled."""
        return self.model if self.rounded is None else self.rounded
