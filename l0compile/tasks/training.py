"""Train a model on a task's loss, with gates under a budget or with frozen masks."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import torch
from torch import nn

from l0compile.gates import Budget, Gate
from l0compile.tasks.checkpoint import Checkpoint, Done
from l0compile.tasks.products import Precision, products_in, usable
from l0compile.tasks.progress import Noise, Progress, Teller
from l0compile.tasks.task import Task
from l0compile.tasks.team import Assignment, Team, gates_of

_TrainedParameters = Sequence[nn.Parameter]
# Distance between the seeds of the processes of a team.
_APART = 100_003


@dataclass(frozen=True)
class Schedule:
    """The schedule of a training.

    steps: how many. batch: items per step. weight_rate, gate_rate: peak learning rates, which rise over ``warmup``
    steps and fall linearly. seed: of the batches. products: the precision of matrix products. full_steps: a training
    of fewer steps, or one that its deadline cuts to fewer, has a proportionally lower rate of weights. weight_decay: of
    matrices, as AdamW counts it; vectors have none. embeddings: train their tables too. average: the decay of a moving
    average of the parameters, which replaces them at the end (Polyak & Juditsky 1992); 0 for none.
    """

    steps: int
    batch: int = 32
    weight_rate: float = 2e-4
    gate_rate: float = 0.1
    warmup: int = 8
    seed: int = 0
    products: Precision = "float32"
    full_steps: int = 0
    weight_decay: float = 0.0
    embeddings: bool = False
    average: float = 0.0

    def rates(self, done: int, spent: float) -> tuple[float, float]:
        """Return the rates of weights and gates after ``done`` steps, which are the share ``spent`` of the training."""
        scale = min(1.0, (done + 1) / self.warmup) * (1.0 - spent)
        steps = min(self.steps, (done + 1) / spent) if spent else self.steps
        return self.weight_rate * scale * min(1.0, steps / max(self.full_steps, 1)), self.gate_rate * scale


@dataclass(frozen=True)
class Trained:
    """What a training did.

    steps: how many it made. seconds: of wall time. loss: the mean of the last tenth of steps; None without steps.
    products: the precision that linear layers multiplied in.
    """

    steps: int
    seconds: float
    loss: float | None
    products: Precision = "float32"


def train(
    task: Task,
    model: nn.Module,
    schedule: Schedule,
    *,
    budget: Budget | None = None,
    deadline: float | None = None,
    on_step: Callable[[int], None] | None = None,
    told: Callable[[str], None] | None = None,
    checkpoint: Checkpoint | None = None,
    team: Team | None = None,
) -> Trained:
    """Train a model in place and leave it in evaluation mode.

    Embedding tables stay as they are unless the schedule says otherwise: to update them would take most of a step.
    Noise comes from the schedule's seed alone: on the same machine the same training gives the same parameters bit for
    bit, resumed or not, unless a deadline cuts it.

    Args:
        task: brings data and loss.
        model: what to train.
        schedule: of the training. The rates fall with the larger share that is used up, of steps or of time.
        budget: trains its gates too, with its penalty; without a budget, harden the gates first.
        deadline: no step starts after this moment (`time.monotonic` seconds).
        on_step: called with the number of each step.
        told: hears every ten seconds of loss, active fraction, budget and time left.
        checkpoint: resume the training on disk, and write it there; a training that has ended is not repeated.
        team: processes that compute a batch each in every step; this one is rank 0.

    Returns:
        What the training did, before it was interrupted as well.
    """
    optimiser = _optimiser(model, schedule, budget)
    trained, losses = _parameters(optimiser), list[float]()
    named = _named(model, trained)
    kept = checkpoint.load(named, optimiser) if checkpoint is not None else Done()
    before, start = kept.steps, time.monotonic() - kept.seconds
    noise = Noise(schedule.seed, model)
    with _shared(team, model, named, schedule), _training(model, trained), noise:
        progress = Progress(named, optimiser, schedule.average, budget, noise)
        teller = Teller(told, schedule.steps, budget, start, deadline)
        if before and not kept.finished:
            progress.restore(kept)
        for batch in () if kept.finished else _endless(task, schedule.batch, schedule.seed, before):
            done = before + len(losses)
            if (spent := _spent(done, schedule, start, deadline)) >= 1.0:
                break
            _set_rates(optimiser, *schedule.rates(done, spent))
            losses.append(_backward(task, model, batch, trained, schedule.products, team))
            progress.step()
            if on_step is not None:
                on_step(done + 1)
            teller.step(done + 1, losses[-1])
            progress.keep(checkpoint, time.monotonic() - start)
        if losses:
            progress.finish(checkpoint, time.monotonic() - start)
    seconds, products = time.monotonic() - start, usable(schedule.products)
    return Trained(before + len(losses), seconds, _mean(losses[-max(1, len(losses) // 10) :]), products)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def assist(task: Task, team: Team) -> None:
    """Compute gradients for the trainings of rank 0, on any other rank, until it has none left."""

    def steps(model: nn.Module, assignment: Assignment) -> None:
        named = dict(model.named_parameters())
        trained = [named[name] for name in assignment.parameters]
        batches = _endless(task, assignment.batch, assignment.seed + team.rank * _APART)
        with _training(model, trained), Noise(assignment.seed, model):
            while team.is_next(trained):
                _gradients(task, model, next(batches), trained, assignment.products)
                team.give(trained)

    team.help(task.dense, steps)


def _backward(
    task: Task,
    model: nn.Module,
    batch: Any,
    trained: _TrainedParameters,
    products: Precision,
    team: Team | None,
) -> float:
    """Set gradients to their mean over the team's batches, and return the loss on this process's batch."""
    if team is None:
        return _gradients(task, model, batch, trained, products)
    team.begin_step(trained)
    try:
        return _gradients(task, model, batch, trained, products)
    finally:
        team.end_step(trained)  # after an error too, because the others wait for it


def _gradients(
    task: Task, model: nn.Module, batch: Any, trained: _TrainedParameters, products: Precision
) -> float:
    for parameter in trained:
        parameter.grad = None
    with products_in(products):
        loss = task.loss(model, batch)
        loss.backward()
    return float(loss.detach())


@contextlib.contextmanager
def _training(model: nn.Module, trained: _TrainedParameters) -> Iterator[None]:
    """Train only ``trained`` for a while; afterwards, gradients are as before and the model in evaluation mode."""
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    chosen = set(trained)
    model.train()
    try:
        for parameter in wanted:
            parameter.requires_grad_(parameter in chosen)
        yield
    finally:
        for parameter, required in wanted.items():
            parameter.requires_grad_(required)
            parameter.grad = None
        model.eval()


def _shared(
    team: Team | None, model: nn.Module, named: Mapping[str, nn.Parameter], schedule: Schedule
) -> contextlib.AbstractContextManager[None]:
    if team is None:
        return contextlib.nullcontext()
    names = tuple(named)
    return team.training(
        model, Assignment(gates_of(model), names, schedule.batch, schedule.seed, schedule.products)
    )


def _spent(done: int, schedule: Schedule, start: float, deadline: float | None) -> float:
    """Return the share of the steps or of the time that is used up, whichever is larger."""
    steps = done / schedule.steps if schedule.steps else 1.0
    if deadline is None:
        return steps
    allowed = deadline - start
    return max(steps, (time.monotonic() - start) / allowed) if allowed > 0 else 1.0


def _endless(task: Task, batch: int, seed: int, done: int = 0) -> Iterator[Any]:
    """Yield batches, epoch after epoch, without the first ``done``."""
    epochs = (task.batches(batch, seed + epoch) for epoch in count())
    return islice(chain.from_iterable(epochs), done, None)


def _named(model: nn.Module, trained: _TrainedParameters) -> dict[str, nn.Parameter]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: parameter for parameter in trained}


def _optimiser(model: nn.Module, schedule: Schedule, budget: Budget | None) -> torch.optim.Optimizer:
    groups = _groups(model, schedule)
    if budget is not None:
        groups.append(budget.param_group(schedule.gate_rate) | {"gates": True})
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _set_rates(optimiser: torch.optim.Optimizer, of_weights: float, of_gates: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = of_gates if group["gates"] else of_weights


def _groups(model: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Return the parameter groups of what is no gate: matrices with weight decay, vectors and tables without."""
    kinds = Gate if schedule.embeddings else (nn.Embedding, Gate)
    decays: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for module in model.modules():
        for parameter in () if isinstance(module, kinds) else module.parameters(recurse=False):
            decays[parameter.ndim > 1 and not isinstance(module, nn.Embedding)].append(parameter)
    return [
        {"params": parameters, "weight_decay": schedule.weight_decay * decay, "gates": False}
        for decay, parameters in decays.items()
        if parameters
    ]
