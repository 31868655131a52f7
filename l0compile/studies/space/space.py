"""A search space: the task, the gates with their ranges, the constraints and the effort."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from l0compile.gates import Block, Granularity, Head, Neuron
from l0compile.ir.codec import Meta, Share
from l0compile.studies.bench.engines import NARROW, REFERENCES, DenseEngine
from l0compile.studies.constraints.constraint import Constraint
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.constraints.registry import parse_limit
from l0compile.studies.pruning.level import Numbers
from l0compile.tasks import Precision, Schedule

_Steps = Annotated[int, Meta(ge=0, le=1_000_000)]
GateKind = Literal["block", "head", "neuron"]
KINDS: tuple[GateKind, ...] = ("block", "head", "neuron")
FLOAT: tuple[Numbers, ...] = ("float32",)
"""The precisions of layers in a space that does not tell."""


@dataclass(frozen=True)
class GateGroup:
    """Gates of one kind on every module that matches one of ``patterns`` (shell style; ``*`` crosses dots).

    density: the lowest and the highest share of gates that stay open in each module. shapes: block shapes (rows,
    columns) to choose from, for blocks only. heads: the number of attention heads that each module reads, for heads
    only.
    """

    name: str
    kind: GateKind
    patterns: tuple[str, ...]
    density: tuple[Share, Share]
    shapes: tuple[tuple[int, int], ...] = ()
    heads: int = 0

    def granularity(self, block: tuple[int, int] | None) -> Granularity:
        """Return the granularity to attach; ``block`` is the chosen shape."""
        match self.kind:
            case "block":
                return Block(*(block or self.shapes[0]))
            case "head":
                return Head(self.heads)
            case _:
                return Neuron()


@dataclass(frozen=True)
class Effort:
    """How long to search.

    trials: at most this many. seconds: for everything. finalists: the number of best trials that are compiled, fitted
    to the budget and trained briefly; the better half then trains twice as long, and so on. sweep: budgets for the
    Pareto front, relative to the latency budget. seed: of the sampler and of trainings. thorough: measure the final
    table with the full protocol.
    """

    trials: Annotated[int, Meta(ge=1, le=10_000)] = 12
    seconds: Annotated[float, Meta(ge=10.0, le=1e6)] = 720.0
    finalists: Annotated[int, Meta(ge=1, le=100)] = 3
    sweep: tuple[Annotated[float, Meta(ge=0.1, le=4.0)], ...] = (1.0, 0.75, 1.3)
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    thorough: bool = True


# Trainings of at least this many steps use the whole learning rate. Twenty steps at the best rate for hundreds make a
# model worse: MiniLM at 0.6 of its time has 0.934 before, 0.897 after twenty at 8e-4, 0.937 after twenty at 5e-5.
FULL_STEPS = 400


@dataclass(frozen=True)
class TrainingPlan:
    """How finalists and the winner are trained.

    batch: items per step. candidate_steps: for each finalist in the first round, with frozen zeros. gate_steps: for
    the winner's gates under its budget in milliseconds, within half of its time; 0 keeps the zeros of its allocation.
    tune_steps: for the winner with frozen zeros. stages: the number of stages in which the winner gets its zeros,
    with training between them. weight_rate: the peak learning rate of weights, proportionally lower in trainings of
    fewer than `FULL_STEPS` steps. products: the precision of matrix products, as in `Schedule`.
    """

    batch: Annotated[int, Meta(ge=2, le=4096)] = 32
    candidate_steps: Annotated[int, Meta(ge=0, le=100_000)] = 20
    gate_steps: _Steps = 0
    tune_steps: _Steps = 400
    stages: Annotated[int, Meta(ge=1, le=16)] = 1
    weight_rate: Annotated[float, Meta(ge=1e-8, le=1.0)] = 2e-4
    products: Precision = "float32"

    def schedule(self, steps: int, seed: int) -> Schedule:
        """Return the schedule of a training of ``steps`` steps."""
        return Schedule(
            steps, self.batch, self.weight_rate, seed=seed, products=self.products, full_steps=FULL_STEPS
        )


@dataclass(frozen=True)
class Space:
    """A checked search space.

    options: the task's own. feeds: pattern of producers -> pattern of their consumer (see `Budget`). quality: the
    target to search under, instead of a latency. limits: key of the table ``[limits]`` -> the largest value allowed.
    precision: what gated layers may multiply; with "bfloat16" among them, the products of attention do.
    """

    name: str
    task: str
    options: Any
    gates: tuple[GateGroup, ...]
    latency: LatencyBudget
    feeds: Mapping[str, str] = field(default_factory=dict)
    effort: Effort = Effort()
    training: TrainingPlan = TrainingPlan()
    quality: QualityTarget | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    precision: tuple[Numbers, ...] = FLOAT

    @property
    def narrow(self) -> bool:
        """Whether layers may multiply narrower numbers than float32."""
        return self.precision != FLOAT

    @property
    def engines(self) -> tuple[DenseEngine, ...]:
        """The dense engines of the final table: those of narrow numbers only where the space knows narrow numbers."""
        return (*REFERENCES, *NARROW) if self.narrow or self.latency.reference in NARROW else REFERENCES

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """Everything that the chosen model has to keep, the latency or the quality first."""
        limits = (parse_limit(key, value, self.name) for key, value in self.limits.items())
        return (self.quality or self.latency, *limits)

    def fingerprint(self) -> str:
        """Return a hash of everything that trials depend on: task, gates, constraints and the training of finalists."""
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
        if self.limits:
            facts["limits"] = dict(self.limits)
        if self.narrow:
            facts["precision"] = list(self.precision)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def quick(self) -> "Space":
        """Return this space with two trials and a few steps, for tests."""
        effort = dataclasses.replace(self.effort, trials=2, finalists=1, sweep=(1.0,), thorough=False)
        plan = dataclasses.replace(self.training, batch=8, candidate_steps=2, tune_steps=4)
        return dataclasses.replace(self, effort=effort, training=plan)
