"""What is searched: task, gates with their ranges, latency budget and effort."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l0compile.gates import Block, Granularity, Head, Neuron
from l0compile.tasks import Schedule

KINDS = ("block", "head", "neuron")
REFERENCES = ("onnxruntime", "openvino", "pytorch", "l0compile")


@dataclass(frozen=True)
class GateGroup:
    """Gates of one kind on every module that matches one of `patterns` (shell style; `*` crosses dots).

    `density`: range [low, high] of the share of gates that stay open in each module. `shapes`: block shapes (rows,
    columns) to choose from, for blocks only. `heads`: attention heads that each module reads, for heads only.
    """

    name: str
    kind: str
    patterns: tuple[str, ...]
    density: tuple[float, float]
    shapes: tuple[tuple[int, int], ...] = ()
    heads: int = 0

    def granularity(self, block: tuple[int, int] | None) -> Granularity:
        """What to attach; `block` is the chosen one of `shapes`."""
        match self.kind:
            case "block":
                return Block(*(block or self.shapes[0]))
            case "head":
                return Head(self.heads)
            case _:
                return Neuron()


@dataclass(frozen=True)
class LatencyBudget:
    """At most `ms` milliseconds, or `ratio` times the dense latency of the engine `reference` on this machine.

    Neither where a `QualityFloor` is given: the latency is then what is made as short as possible. `percentile`: of the
    calls that are measured.
    """

    ratio: float | None
    ms: float | None
    reference: str = "onnxruntime"
    percentile: float = 50.0

    def in_ms(self, reference_ms: float) -> float:
        """The budget in milliseconds, given the reference's dense latency."""
        return self.ms if self.ms is not None else (self.ratio or 1.0) * reference_ms


@dataclass(frozen=True)
class QualityFloor:
    """The chosen model loses at most the share `drop` of the dense model's quality, and is as quick as can be."""

    drop: float

    def least(self, dense: float) -> float:
        """The least quality, given that of the dense model."""
        return dense - self.drop * abs(dense)


@dataclass(frozen=True)
class Limits:
    """What the chosen model has to keep beside its budget. artifact_mb: size on disk, in millions of bytes."""

    artifact_mb: float | None = None


@dataclass(frozen=True)
class Effort:
    """How long to search: `trials` at most, `seconds` in all.

    `finalists`: of the best trials so many are compiled, fitted to the budget and trained briefly; the better half
    twice as long, and so on. `sweep`: budgets for the Pareto front, relative to the latency budget. `thorough`: measure
    the final table with the full protocol.
    """

    trials: int = 12
    seconds: float = 720.0
    finalists: int = 3
    sweep: tuple[float, ...] = (1.0, 0.75, 1.3)
    seed: int = 0
    thorough: bool = True


# Steps of a training from which on it has the whole rate. At the rate that is best for hundreds of steps twenty leave a
# model worse than they found it: MiniLM at 0.6 of its time has 0.934 before, 0.897 after twenty at 8e-4, 0.937 at 5e-5.
FULL_STEPS = 400


@dataclass(frozen=True)
class TrainingPlan:
    """Items a batch; the peak rate of weights, proportionally less in trainings of less than `FULL_STEPS`; the
    precision of products (as of `Schedule`); steps.

    candidate_steps: of a finalist in the first round, with frozen zeros. gate_steps: of the winner's gates under its
    budget in milliseconds, in half of its time at most; 0 keeps the plan's zeros. tune_steps: of the winner with frozen
    zeros. stages: in which the winner gets its zeros, with training between.
    """

    batch: int = 32
    candidate_steps: int = 20
    gate_steps: int = 0
    tune_steps: int = 400
    stages: int = 1
    weight_rate: float = 2e-4
    products: str = "float32"

    def schedule(self, steps: int, seed: int) -> Schedule:
        """A training of so many steps."""
        return Schedule(
            steps, self.batch, self.weight_rate, seed=seed, products=self.products, full_steps=FULL_STEPS
        )


@dataclass(frozen=True)
class Space:
    """A checked search space. `options` is the task's own options value.

    `feeds` maps producer to consumer (see `Budget`). `quality`: searched under instead of a latency.
    """

    name: str
    task: str
    options: Any
    gates: tuple[GateGroup, ...]
    latency: LatencyBudget
    feeds: Mapping[str, str] = field(default_factory=dict)
    effort: Effort = Effort()
    training: TrainingPlan = TrainingPlan()
    quality: QualityFloor | None = None
    limits: Limits = Limits()

    def fingerprint(self) -> str:
        """Hash of everything that makes trials comparable: task, gates, latency budget and candidate training."""
        facts: dict[str, Any] = {
            "task": [self.task, dataclasses.asdict(self.options)],
            "gates": [dataclasses.asdict(group) for group in self.gates],
            "latency": dataclasses.asdict(self.latency),
            "training": [
                self.training.batch,
                self.training.candidate_steps,
                self.training.weight_rate,
                self.training.products,
            ],
            "seed": self.effort.seed,
        }
        if self.quality is not None:
            facts["quality"] = dataclasses.asdict(self.quality)
        if self.limits != Limits():
            facts["limits"] = dataclasses.asdict(self.limits)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def quick(self) -> "Space":
        """The same space with two trials and a few steps, for tests."""
        effort = dataclasses.replace(self.effort, trials=2, finalists=1, sweep=(1.0,), thorough=False)
        plan = dataclasses.replace(self.training, batch=8, candidate_steps=2, tune_steps=4)
        return dataclasses.replace(self, effort=effort, training=plan)
