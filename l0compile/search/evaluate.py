"""One candidate: latency first, and only for one that is fast enough the training that its quality needs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from l0compile.errors import BuildError
from l0compile.measure import Measurement
from l0compile.result import Latency
from l0compile.search.candidate import Choices, gated, hardened
from l0compile.search.curvature import Curvature
from l0compile.search.latency import Bench, Budgeted
from l0compile.search.masks import cost_density, structure
from l0compile.search.repair import repair
from l0compile.search.space import Space
from l0compile.tasks import Schedule, Task, train

# A candidate has to be this much faster than the budget: its measurement is quick, so noisier than the final one, and a
# model for all sizes takes a little longer than one for a single size.
MARGIN = 0.04


@dataclass(frozen=True)
class Outcome:
    """What is known about a realised structure.

    `live`: share of the gated layers' multiplications that are left. `load`: latency over budget, against a
    reference measured in the same minute where the budget is relative. `quality`: on validation data, after
    training if `trained`. `seconds`: what finding out took.
    """

    structure: str
    live: float
    latency: Latency
    load: float
    quality: float
    trained: bool
    seconds: float

    @property
    def fast_enough(self) -> bool:
        """Within the budget, with a margin for noise."""
        return self.load <= 1.0 - MARGIN

    @property
    def eligible(self) -> bool:
        """Trained and fast enough: may be chosen."""
        return self.trained and self.fast_enough

    def to_attrs(self) -> dict[str, Any]:
        """JSON values, stored with a trial."""
        return {**vars(self), "latency": vars(self.latency)}

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> "Outcome | None":
        """Inverse of `to_attrs`; None where a trial has no outcome."""
        names = cls.__dataclass_fields__
        if any(name not in attrs for name in names):
            return None
        return cls(
            **{name: attrs[name] for name in names if name != "latency"}, latency=Latency(**attrs["latency"])
        )


@dataclass
class Evaluator:
    """Evaluates choices of one space on one machine and remembers every structure it has seen."""

    task: Task
    space: Space
    curvature: Mapping[str, Curvature]
    bench: Bench
    budget: Budgeted
    seen: dict[str, Outcome] = field(default_factory=dict)

    def evaluate(self, choices: Choices, *, always_train: bool = False) -> Outcome:
        """Latency and quality of `choices`; trained if it is fast enough or `always_train`.

        A structure seen before is neither built, measured nor trained again (except to train what was too slow
        then). Raises a L0CompileError when the candidate can't be built, does not equal the gated model, or can't
        be measured.
        """
        start = time.monotonic()
        model = hardened(gated(self.task.dense(), self.space, choices, self.curvature))
        key = structure(model)
        known = self.seen.get(key)
        if known is not None and (known.trained or not always_train):
            return known
        latency, load = (known.latency, known.load) if known is not None else self.measure(model)
        # Weights don't decide latency, so they are repaired only now.
        repair(model, self.curvature)
        trained = always_train or load <= 1.0 - MARGIN
        if trained:
            plan, seed = self.space.training, self.space.effort.seed
            train(self.task, model, Schedule(plan.candidate_steps, plan.batch, plan.weight_rate, seed=seed))
        quality = self.task.quality(model, "validation")
        live = cost_density(model, self.space.feeds)
        self.seen[key] = Outcome(key, live, latency, load, quality, trained, time.monotonic() - start)
        return self.seen[key]

    def measure(self, model: nn.Module) -> tuple[Latency, float]:
        """Compile a hardened model and measure it: its latency, and that over the budget."""
        self.bench.build(model, "candidate", dynamic=False)
        measured, load = self.budget.measure(self.bench, "candidate")
        return _latency(measured), load


def _latency(measured: Measurement) -> Latency:
    latency = Latency.of(measured)
    if latency is None:
        raise BuildError(f"search: the candidate was built, but measuring it failed: {measured.error}")
    return latency
