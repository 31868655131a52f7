"""One candidate without training: what it keeps under a budget, its weights by least squares, and its quality."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from l0compile.gates import Budget
from l0compile.pruning.candidates import all_paths
from l0compile.pruning.curvature import measure_curvature
from l0compile.pruning.level import Shape
from l0compile.pruning.masks import cost_density, structure
from l0compile.pruning.parts import Part, measured_parts
from l0compile.pruning.plan import Menu, Plan
from l0compile.pruning.prices import Pricing, sites
from l0compile.pruning.reconstruct import reconstruct
from l0compile.pruning.size import Sizes
from l0compile.studies.fit.parts import members_of
from l0compile.studies.space.candidate import Choices, gated, hardened, layers_of, unique
from l0compile.studies.space.space import Space
from l0compile.tasks import Checkpoint, Schedule, Task, Team, Trained, train


@dataclass(frozen=True)
class Outcome:
    """What is known about a realised structure.

    `structure`: its hash. `live`: share of the gated layers' multiplications that are left. `price_ms`: what its layers
    take by the measured costs of kernels. `loss`: predicted. `quality`: on validation data, without training.
    `seconds`: what finding out took. `layers`: the plan as in `Plan.to_json`.
    """

    structure: str
    live: float
    price_ms: float
    loss: float
    quality: float
    seconds: float
    layers: Mapping[str, Any]

    def to_attrs(self) -> dict[str, Any]:
        """JSON values, stored with a trial."""
        return dict(vars(self))

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> "Outcome | None":
        """Inverse of `to_attrs`; None where a trial has no outcome."""
        names = cls.__dataclass_fields__
        return cls(**{name: attrs[name] for name in names}) if all(name in attrs for name in names) else None


@dataclass
class Evaluator:
    """Evaluates choices of one space and remembers every structure it has seen.

    members: of each group of gates, layers or the names of their heads or neurons. origin: the model that zeros are
    made in, as it is: the dense one, or one that was pruned already. calibration: batches that weights are solved with,
    of a trial. tokens: what they weigh in that, as of ``reconstruct``. team: of processes that train.
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

    @classmethod
    def of(
        cls,
        task: Task,
        space: Space,
        shapes: Mapping[str, tuple[Shape, ...]],
        parts: Mapping[str, Part],
        prices: Pricing,
        cache: Path | None,
        *,
        origin: nn.Module | None = None,
        told: Callable[[int, int], None] = lambda done, total: None,
    ) -> "Evaluator":
        """Prune every layer in ``shapes`` to each of its block shapes, and ``parts``, by their curvature on the
        calibration data.

        cache, told: as of ``all_paths``. origin: default the dense model of the task.
        """
        origin = origin or task.dense()
        groups = layers_of(task.dense(), space)
        curvature = measure_curvature(
            origin, unique(groups.values()), task.calibration(), task.predict, seed=space.effort.seed
        )
        paths = all_paths(origin, curvature, shapes, cache, told)
        members = members_of(space, groups)
        ranges = {name: group.density for group in space.gates for name in members[group.name]}
        places = sites(origin, tuple(paths), task.example())
        parts, part_paths = measured_parts(origin, curvature, parts, cache)
        paths |= part_paths
        menu = Menu.of(paths, places, prices, ranges, parts)
        tokens = {name: found.tokens for name, found in curvature.items()}
        return cls(task, space, members, origin, menu, tokens=tokens)

    def plan(self, choices: Choices, price_ms: float) -> Plan:
        """The best plan whose layers take `price_ms` and whose model is not too large, losses weighed by `choices`.

        Raises ConfigError if there is none.
        """
        factors = choices.factors(self.members)
        if self.space.limits.artifact_mb is None:
            return self.menu.plan(price_ms, factors)
        return self.sizes.plan(self.menu, price_ms, factors, 1e6 * self.space.limits.artifact_mb)

    @cached_property
    def sizes(self) -> Sizes:
        """Of models of the menu."""
        return Sizes.of(self.origin, (name for name in self.menu.layers if name not in self.menu.parts))

    def realised(self, plan: Plan) -> nn.Module:
        """The model with gates that leave what `plan` says, hardened; weights as they were."""
        return hardened(gated(copy.deepcopy(self.origin), plan, self.menu))

    def solve(self, model: nn.Module, batches: int | None = None) -> None:
        """Set the weights of a realised model by least squares, with that many calibration batches (default: all)."""
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
    ) -> Trained:
        """As ``tasks.train``, in place, by the whole team. kept: folder for a checkpoint, to go on from."""
        checkpoint = Checkpoint(kept / f"{structure(model)}.safetensors", str(schedule)) if kept else None
        return train(
            self.task,
            model,
            schedule,
            budget=budget,
            deadline=deadline,
            checkpoint=checkpoint,
            team=self.team,
        )

    def evaluate(self, choices: Choices, price_ms: float) -> Outcome:
        """Quality of the best plan for `choices`. A structure seen before is not evaluated again.

        Raises ConfigError if no plan takes `price_ms` or less.
        """
        start = time.monotonic()
        plan = self.plan(choices, price_ms)
        model = self.realised(plan)
        key = structure(model)
        if key not in self.seen:
            self.solve(model, self.calibration)
            quality = self.task.quality(model, "validation")
            live = cost_density(model, self.space.feeds)
            seconds = time.monotonic() - start
            self.seen[key] = Outcome(key, live, plan.ms, plan.loss, quality, seconds, plan.to_json())
        return self.seen[key]
