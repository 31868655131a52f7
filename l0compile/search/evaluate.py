"""One candidate: latency first, and only for one that is fast enough the training that its quality needs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l0compile.errors import BuildError
from l0compile.measure import Protocol
from l0compile.search.candidate import Choices, gated, hardened
from l0compile.search.latency import Bench
from l0compile.search.masks import cost_density, structure
from l0compile.search.result import Latency
from l0compile.search.second_order import Curvature, repair
from l0compile.search.space import Space
from l0compile.tasks import Schedule, Task, train

TRAINED, TOO_SLOW, FAILED = "trained", "too slow", "failed"


@dataclass(frozen=True)
class Outcome:
    """What is known about a realised structure: latency, whether training was paid for, and validation quality.

    `live`: share of the gated layers' multiplications that are left. `seconds`: what finding out took.
    """

    structure: str
    live: float
    latency: Latency
    quality: float
    trained: bool
    seconds: float

    def to_attrs(self) -> dict[str, Any]:
        """JSON values, stored with a trial."""
        return {**vars(self), "latency": vars(self.latency)}

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> "Outcome | None":
        """Inverse of `to_attrs`; None where a trial has no outcome."""
        if "structure" not in attrs or "quality" not in attrs:
            return None
        names = ("structure", "live", "quality", "trained", "seconds")
        return cls(**{name: attrs[name] for name in names}, latency=Latency(**attrs["latency"]))


@dataclass
class Evaluator:
    """Evaluates choices of one space on one machine and remembers every structure it has seen."""

    task: Task
    space: Space
    curvature: Mapping[str, Curvature]
    bench: Bench
    budget_ms: float
    seen: dict[str, Outcome] = field(default_factory=dict)

    def evaluate(
        self, choices: Choices, *, always_train: bool = False, deadline: float | None = None
    ) -> Outcome:
        """Latency and quality of `choices`; trained if it meets the budget or `always_train`.

        A structure seen before is neither built, measured nor trained again (except to train what was too slow then). Raises a
        L0CompileError when the candidate can't be built, is not equal to the gated model, or can't be measured.
        """
        start = time.monotonic()
        model = hardened(gated(self.task.dense(), self.space, choices, self.curvature))
        key = structure(model)
        known = self.seen.get(key)
        if known is not None and (known.trained or not always_train):
            return known
        latency = known.latency if known is not None else self._latency(model)
        repair(model, self.curvature)
        trained = always_train or latency.median_ms <= self.budget_ms
        if trained:
            plan = self.space.training
            schedule = Schedule(
                plan.candidate_steps, plan.batch, plan.weight_rate, seed=self.space.effort.seed
            )
            train(self.task, model, schedule, deadline=deadline)
        quality = self.task.quality(model, "validation")
        live = cost_density(model, self.space.feeds)
        self.seen[key] = Outcome(key, live, latency, quality, trained, time.monotonic() - start)
        return self.seen[key]

    def _latency(self, model: Any) -> Latency:
        self.bench.build(model, "candidate")
        measured = self.bench.measure("candidate", Protocol.quick())
        latency = Latency.of(measured)
        if latency is None:
            raise BuildError(f"search: the candidate was built, but its measurement failed: {measured.error}")
        return latency
