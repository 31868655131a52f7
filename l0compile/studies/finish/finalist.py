"""A candidate that was compiled and measured to fit a budget, and its form in the study, for a search that goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from l0compile.measurement import Ratio
from l0compile.pruning.plan import Menu
from l0compile.studies.fit.fit import HIGHEST, Fitted
from l0compile.studies.result import Candidate, Latency
from l0compile.studies.study.study import Trial


@dataclass(frozen=True)
class Finalist:
    """A fitted candidate.

    trial: what it was made from. qualities: on validation data, after each round of brief training, one at least.
    wanted: its budget over that of the search.
    """

    trial: Trial
    fitted: Fitted
    qualities: tuple[float, ...]
    wanted: float

    @property
    def quality(self) -> float:
        """After the last round."""
        return self.qualities[-1]

    @property
    def fast_enough(self) -> bool:
        """Within its own budget."""
        return self.fitted.load <= HIGHEST * self.wanted

    def candidate(self, budget_ms: float) -> Candidate:
        """As a result, in milliseconds of the minute it was measured in: a relative budget moves with the machine."""
        found = self.fitted
        low, high = found.between or (found.load, found.load)
        scale = found.latency.median_ms / (found.load * budget_ms)
        return Candidate(
            self.trial.number, found.choices.to_params(), "fitted", found.latency, self.quality,
            rounds=len(self.qualities), layers=found.plan.to_json(), wanted_ms=scale * self.wanted * budget_ms,
            predicted_ms=scale * found.predicted_ms, load=Ratio(found.load, low, high),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """JSON values; the plan by the numbers of its levels."""
        found = self.fitted
        return {
            "trial": self.trial.number,
            "qualities": list(self.qualities),
            "wanted": self.wanted,
            "structure": found.structure,
            "latency": vars(found.latency),
            "load": found.load,
            "between": found.between,
            "predicted_ms": found.predicted_ms,
            "gap": found.plan.gap,
            "levels": {name: [level.block, level.number] for name, level in found.plan.layers.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], menu: Menu, trials: Mapping[int, Trial]) -> "Finalist | None":
        """Inverse of `to_json`; None where its trial or one of its levels is not there any more."""
        levels = {name: (block and tuple(block), number) for name, (block, number) in data["levels"].items()}
        trial, plan = trials.get(data["trial"]), menu.restored(levels)
        if trial is None or plan is None:
            return None
        latency, plan = Latency(**data["latency"]), replace(plan, gap=data["gap"])
        between = data.get("between")
        fitted = Fitted(
            trial.choices,
            plan,
            data["structure"],
            latency,
            data["load"],
            data["predicted_ms"],
            between and tuple(between),
        )
        return cls(trial, fitted, tuple(data["qualities"]), data["wanted"])
