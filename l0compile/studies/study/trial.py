"""What is known of a finished trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l0compile.studies.result import Candidate
from l0compile.studies.space.candidate import Choices
from l0compile.studies.workers.retry import ERROR

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Outcome:
    """What one-shot pruning made of a trial's choices.

    structure: hash of the live weights. live: share of the gated layers' multiplications that are left. price_ms: their
    predicted time. loss: predicted. quality: on validation data, without training. seconds: that the evaluation took.
    layers: the allocation, as in ``Allocation.to_json``.
    """

    structure: str
    live: float
    price_ms: float
    loss: float
    quality: float
    seconds: float
    layers: Mapping[str, Any]

    def to_attrs(self) -> dict[str, Any]:
        """Convert to JSON values, which are stored with the trial."""
        return dict(vars(self))

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> "Outcome | None":
        """Invert `to_attrs`; None if the trial has no outcome."""
        names = cls.__dataclass_fields__
        return cls(**{name: attrs[name] for name in names}) if all(name in attrs for name in names) else None


@dataclass(frozen=True)
class Trial:
    """A finished trial. A failed one has no outcome; ``error`` then says why it failed."""

    number: int
    choices: Choices
    outcome: Outcome | None
    error: str | None

    def candidate(self) -> Candidate:
        """Convert this trial to a `Candidate`."""
        params = self.choices.to_params()
        if self.outcome is None:
            return Candidate(self.number, params, "failed", error=self.error)
        choices = {**params, "live": round(self.outcome.live, 4)}
        return Candidate(
            self.number, choices, "one-shot", quality=self.outcome.quality, layers=self.outcome.layers
        )


def finished(trial: "optuna.trial.FrozenTrial") -> Trial:
    """Convert a finished trial of Optuna."""
    outcome = Outcome.from_attrs(trial.user_attrs) if trial.value is not None else None
    error = None if outcome else str(trial.user_attrs.get(ERROR, "stopped before it was finished"))
    return Trial(trial.number, Choices.from_params(trial.params), outcome, error)
