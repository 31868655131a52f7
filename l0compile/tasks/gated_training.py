"""Train gates on a trained model: open at first, then down to an active fraction, then constant while weights adapt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError, GateError
from l0compile.gates import Budget, Feature, Granularity, attach, harden, hardening
from l0compile.gates.cost import Cost
from l0compile.tasks.checkpoint import Checkpoint
from l0compile.tasks.classification import Classification
from l0compile.tasks.task import Task
from l0compile.tasks.training import Schedule, Trained, train

Gates = Mapping[str, Granularity | tuple[Granularity, ...]]


@dataclass(frozen=True)
class Annealing:
    """L0 annealing: what becomes of the gates in the course of a training, in shares of its steps.

    warm_up: gates learn, and nothing asks them to close. ramp: the active fraction that they may have falls linearly
    from 1 to what was asked for. hold: it stays there. The rest of the steps trains weights alone, with gates frozen to
    constants, as many of them open as were asked for.
    """

    warm_up: float = 0.05
    ramp: float = 0.4
    hold: float = 0.15

    def __post_init__(self) -> None:
        shares = (self.warm_up, self.ramp, self.hold)
        if min(shares) < 0.0 or not 0.0 < sum(shares) <= 1.0:
            raise ConfigError(
                f"annealing: expected shares of the steps, none negative and together above 0 and at most 1, got {self}"
            )

    @property
    def learning(self) -> float:
        """The share of the steps in which gates learn."""
        return self.warm_up + self.ramp + self.hold

    def budget(self, model: nn.Module, fraction: float, steps: int, **options: Any) -> Budget:
        """Make the budget of those steps; ``options`` are others of ``Budget``."""
        delay, warmup = self.warm_up / self.learning, self.ramp / self.learning
        return Budget(model, fraction, steps, delay=delay, warmup=warmup, **options)


@dataclass(frozen=True)
class GatedTraining:
    """What a training with gates did.

    requested, achieved: the active fraction asked for and that of the constant gates. gates, weights: the training
    with gates that learn, and the one after it.
    """

    requested: float
    achieved: float
    gates: Trained
    weights: Trained


def train_gated(
    task: Task,
    model: nn.Module,
    gates: Gates,
    fraction: float,
    schedule: Schedule,
    *,
    annealing: Annealing | None = None,
    scope: Literal["group", "global"] = "group",
    values: Literal["soft", "binary"] = "soft",
    cost: Mapping[str, Cost] | None = None,
    feeds: Mapping[str, str] | None = None,
    on_step: Callable[[int], None] | None = None,
    told: Callable[[str], None] | None = None,
    folder: Path | None = None,
) -> GatedTraining:
    """Attach gates to a trained model, train both, and leave the gates as constants, all in place.

    Args:
        task: brings data and loss.
        model: trained, without these gates.
        gates: name pattern -> granularity, see ``attach``. The gates start open.
        fraction: how much may stay, in (0, 1]: of gates with ``scope="group"``, of cost with ``"global"``.
        schedule: of the whole training. The rates of both parts of it rise and fall; only the second is averaged,
            because an average of gates that close lags behind.
        annealing: the shares of the parts; default: `Annealing`.
        scope: ``"group"`` keeps the same fraction of each gate module, ``"global"`` ranks all gates of the model.
        values: of open gates once they are constant, see ``harden``.
        cost: of the gated modules, see ``Budget``.
        feeds: which module reads which, see ``Budget``.
        on_step: called with the number of each step.
        told: hears every ten seconds of loss, active fraction, budget and time left.
        folder: keep unfinished trainings there, and resume from it.

    Returns:
        What was done.

    Raises:
        ConfigError: the fraction is out of range.
        GateError: a gate does not fit.
    """
    if not 0.0 < fraction <= 1.0:
        raise ConfigError(f"train_gated: fraction: expected a number above 0 and at most 1, got {fraction}")
    shares = annealing or Annealing()
    steps = max(1, round(schedule.steps * shares.learning))
    attach(model, gates)
    budget = shares.budget(model, fraction, steps, cost=cost, feeds=feeds)
    first = train(
        task, model, replace(schedule, steps=steps, average=0.0), budget=budget, on_step=on_step, told=told,
        checkpoint=_checkpoint(folder, "gates", schedule),
    )  # fmt: skip
    harden(model, budget if scope == "global" else fraction, scope=scope, values=values)
    counted = None if on_step is None else (lambda step: on_step(steps + step))
    second = train(
        task, model, replace(schedule, steps=schedule.steps - steps, seed=schedule.seed + 1), on_step=counted,
        told=told, checkpoint=_checkpoint(folder, "weights", schedule),
    )  # fmt: skip
    record = hardening(model)
    assert record is not None
    return GatedTraining(fraction, record.density, first, second)


def representation_gate(task: Classification) -> dict[str, Granularity]:
    """Return the gates of L0GM (arXiv 2603.26801): one for each feature of the vector that the classifier reads.

    Args:
        task: says which module returns the vector.

    Raises:
        GateError: the module does not run on the task's example, or returns no tensor.
    """
    model, seen = task.build(0), []
    hook = model.get_submodule(task.representation).register_forward_hook(lambda *call: seen.append(call[2]))
    with hook, torch.no_grad():
        model(*task.example())
    if not seen or not isinstance(seen[-1], Tensor):
        raise GateError(
            f"representation_gate: {task.representation!r} of task {task.name!r}: expected a module that returns a "
            f"tensor when the model runs, got {type(seen[-1]).__name__ if seen else 'no call'}"
        )
    return {task.representation: Feature(seen[-1].shape[-1])}


def _checkpoint(folder: Path | None, part: str, schedule: Schedule) -> Checkpoint | None:
    return None if folder is None else Checkpoint(folder / f"{part}.safetensors", str(schedule))
