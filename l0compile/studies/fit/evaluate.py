"""Evaluate a candidate without training: its allocation, its weights by least squares, rounding, and its quality."""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from l0compile.attention.assignment.assign import HeadPattern
from l0compile.attention.assignment.joint import JointLosses
from l0compile.gates import Budget
from l0compile.quantization import quantize
from l0compile.quantization.fit import Rounding
from l0compile.studies.fit.heads import HeadPrices, candidates_of, head_levels, heads_by_group, with_patterns
from l0compile.studies.fit.joint_heads import JointHeads
from l0compile.studies.fit.units import members_of
from l0compile.studies.pruning.allocation import Allocation, Menu
from l0compile.studies.pruning.bounds import Bound, allocate_within
from l0compile.studies.pruning.curvature import measure_curvature
from l0compile.studies.pruning.level import Shape
from l0compile.studies.pruning.masks import cost_density, structure
from l0compile.studies.pruning.paths import all_paths
from l0compile.studies.pruning.prices import Pricing, linear_calls
from l0compile.studies.pruning.reconstruct import reconstruct
from l0compile.studies.pruning.rounding import SAMPLES, rounding_losses
from l0compile.studies.pruning.units import UnitGroup, measured_units
from l0compile.studies.space.candidate import Choices, gated, hardened, layers_of, unique
from l0compile.studies.space.space import Space
from l0compile.studies.study.draw import draw
from l0compile.studies.study.trial import Outcome
from l0compile.tasks import Checkpoint, Schedule, Task, Team, Trained, train

if TYPE_CHECKING:
    import optuna

# Batches on which patterns of all heads are evaluated together, and the projections of the output of each.
_JOINT_BATCHES, _PROJECTIONS = 2, 16
# Rows of a layer's input from which the scales of a model that is only timed are chosen.
_FEW_SAMPLES = 32


@dataclass
class Evaluator:
    """Evaluates the choices of one space, and remembers every structure it has seen.

    members: group of gates -> its layers, or the names of their heads or neurons. origin: the model to prune: the
    dense one, or one that was pruned already. menu: the levels of its layers. calibration: the number of batches that
    the weights of a trial are solved with. tokens: their weights, as in ``reconstruct``. team: the processes that
    train. seen: outcomes by structure. sites: the attention whose heads may have patterns. joint: what improves these
    patterns together.
    """

    task: Task
    space: Space
    members: Mapping[str, tuple[str, ...]]
    origin: nn.Module
    menu: Menu
    calibration: int = 8
    tokens: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    team: Team | None = None
    seen: dict[str, Outcome] = field(default_factory=dict)
    sites: Mapping[str, HeadPrices] = field(default_factory=dict)
    joint: JointHeads | None = None

    @classmethod
    def of(
        cls,
        task: Task,
        space: Space,
        shapes: Mapping[str, tuple[Shape, ...]],
        units: Mapping[str, UnitGroup],
        prices: Pricing,
        cache: Path | None,
        *,
        origin: nn.Module | None = None,
        sites: Mapping[str, HeadPrices] | None = None,
        told: Callable[[int, int], None] = lambda done, total: None,
    ) -> "Evaluator":
        """Prune all layers, heads and neurons by their curvature on the calibration data.

        Args:
            task: brings the model and the data.
            space: the search space.
            shapes: layer -> the block shapes to prune it to.
            units: the heads and neurons to prune, by name.
            prices: what a level takes.
            cache: as in ``all_paths``.
            origin: the model to prune; default: the task's dense model.
            sites: name of a module that calls attention -> what its heads take.
            told: as in ``all_paths``.
        """
        sites = sites or {}
        origin = origin or task.dense()
        groups = layers_of(task.dense(), space)
        curvature = measure_curvature(
            origin, unique(groups.values()), task.calibration(), task.predict, seed=space.effort.seed
        )
        paths = all_paths(origin, curvature, shapes, cache, told)
        members = members_of(space, groups) | heads_by_group(space, sites)
        ranges = {name: group.density for group in space.gates for name in members[group.name]}
        calls = linear_calls(origin, tuple(paths), task.example())
        units, unit_paths = measured_units(origin, curvature, units, cache)
        paths |= unit_paths
        few = islice(task.calibration(), cls.calibration)
        rounding = rounding_losses(origin, curvature, space.precision, few, task.predict)
        few = islice(task.calibration(), cls.calibration)
        heads = head_levels(origin, sites, candidates_of(space), few, task.predict, space.effort.seed)
        menu = Menu.of(paths, calls, prices, ranges, units, rounding, heads)
        tokens = {name: found.tokens for name, found in curvature.items()}
        joint = None
        if sites:
            losses = JointLosses(origin, list(islice(task.calibration(), _JOINT_BATCHES)), task.predict)
            joint = JointHeads(sites, candidates_of(space), losses, _PROJECTIONS, twice=False)
        return cls(task, space, members, origin, menu, tokens=tokens, sites=sites, joint=joint)

    def allocate(self, choices: Choices, price_ms: float) -> Allocation:
        """Return the best allocation whose layers take ``price_ms``, with losses weighed by ``choices``.

        Raises:
            InfeasibleError: no allocation is that fast and keeps the limits of the space.
        """
        found = allocate_within(self.menu, price_ms, choices.factors(self.members), self.bounds)
        return found if self.joint is None else self.joint.better(found, self.menu)

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """What the constraints of the space ask of an allocation, beside its time."""
        layers = tuple(name for name in self.menu.paths if name not in self.menu.units)
        found = (constraint.plan(self.origin, layers) for constraint in self.space.constraints)
        return tuple(bound for bound in found if bound is not None)

    def realised(self, allocation: Allocation) -> nn.Module:
        """Return the hardened model of an allocation, with its weights as they were."""
        model = hardened(gated(copy.deepcopy(self.origin), allocation, self.menu))
        return with_patterns(model, allocation, self.sites, self.candidates) if self.sites else model

    @cached_property
    def candidates(self) -> dict[str, tuple[HeadPattern, ...]]:
        """The patterns that heads may have, by group of the space."""
        return candidates_of(self.space)

    def key(self, model: nn.Module, allocation: Allocation) -> str:
        """Return a hash of the zeros, the precisions and the patterns of a realised model."""
        parts = [str(part) for part in (allocation.precisions, allocation.patterns) if part]
        zeros = structure(model)
        return hashlib.sha256(" ".join([zeros, *parts]).encode()).hexdigest()[:16] if parts else zeros

    def rounded(
        self,
        model: nn.Module,
        allocation: Allocation,
        rounding: Rounding = "nearest",
        samples: int = SAMPLES,
    ) -> nn.Module:
        """Return a copy of a realised model with the precisions of its allocation; the model itself if all are float32.

        Args:
            model: with the zeros of ``allocation``.
            allocation: gives each layer its precision.
            rounding: as in ``quantize``.
            samples: as in ``quantize``.
        """
        return self._narrow(model, allocation, self.calibration, rounding=rounding, samples=samples)

    def timed(self, model: nn.Module, allocation: Allocation) -> nn.Module:
        """Return a copy that takes as long as ``rounded`` and is made in no time: its scales need not be good."""
        return self._narrow(model, allocation, 1, samples=_FEW_SAMPLES, rough=True)

    def _narrow(self, model: nn.Module, allocation: Allocation, batches: int, **how: Any) -> nn.Module:
        if not self.space.narrow:
            return model
        attention = "bfloat16" if "bfloat16" in self.space.precision else "float32"
        given = islice(self.task.calibration(), batches)
        return quantize(
            model, given, allocation.precisions, attention=attention, tolerance=math.inf,
            forward=self.task.predict, **how,
        )  # fmt: skip

    def quality(self, model: nn.Module, allocation: Allocation) -> float:
        """Return the quality of a realised model on validation data, with the precisions of its allocation."""
        return self.task.quality(self.rounded(model, allocation), "validation")

    def solve(self, model: nn.Module, batches: int | None = None) -> None:
        """Set the weights of a realised model by least squares on ``batches`` calibration batches (default: all)."""
        given = list(islice(self.task.calibration(), batches))
        reconstruct(model, self.origin, given, self.task.predict, self.tokens)

    def train(
        self,
        model: nn.Module,
        schedule: Schedule,
        *,
        budget: Budget | None = None,
        deadline: float | None = None,
        kept: Path | None = None,
        name: str | None = None,
    ) -> Trained:
        """Train as ``tasks.train`` does, with the whole team.

        kept: folder of the checkpoint to resume from. name: of the training there, and of a model without gates, which
        is trained by this process alone; default: by the zeros of the model.
        """
        file = f"{name or structure(model)}.safetensors"
        return train(
            self.task,
            model,
            schedule,
            budget=budget,
            deadline=deadline,
            checkpoint=Checkpoint(kept / file, str(schedule)) if kept else None,
            team=self.team if name is None else None,
        )

    def evaluate(self, choices: Choices, price_ms: float) -> Outcome:
        """Return the outcome of ``choices`` at a price. A structure seen before is not evaluated again.

        Raises:
            InfeasibleError: no allocation is that fast and keeps the limits of the space.
        """
        start = time.monotonic()
        allocation = self.allocate(choices, price_ms)
        model = self.realised(allocation)
        key = self.key(model, allocation)
        if key not in self.seen:
            self.solve(model, self.calibration)
            quality = self.quality(model, allocation)
            live = cost_density(model, self.space.feeds)
            seconds = time.monotonic() - start
            self.seen[key] = Outcome(
                key, live, allocation.ms, allocation.loss, quality, seconds, allocation.to_json()
            )
        return self.seen[key]


def evaluate_trial(
    trial: "optuna.trial.Trial", space: Space, evaluator: Evaluator, price_ms: float
) -> Outcome:
    """Evaluate what ``trial`` draws, and keep the outcome with it.

    Raises:
        L0CompileError: there is no outcome.
    """
    outcome = evaluator.evaluate(draw(trial, space), price_ms)
    for key, value in outcome.to_attrs().items():
        trial.set_user_attr(key, value)
    return outcome
