"""Brief training against a task's distillation loss, with gates under a budget or with masks already frozen."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from l0compile.gates import Budget, Gate
from l0compile.tasks.task import Task


@dataclass(frozen=True)
class Schedule:
    """Steps, items a batch, and the peak rates of weights and gates.

    The rates rise over `warmup` steps and fall linearly.
    """

    steps: int
    batch: int = 32
    weight_rate: float = 2e-4
    gate_rate: float = 0.1
    warmup: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What a training run did: steps, wall seconds, and the mean loss of the last tenth (None without steps)."""

    steps: int
    seconds: float
    loss: float | None


def train(
    task: Task,
    model: nn.Module,
    schedule: Schedule,
    *,
    budget: Budget | None = None,
    deadline: float | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Trained:
    """Train `model` in place and leave it in evaluation mode.

    With a `budget`, its gates are trained too and its penalty added; without, gates are constants (harden them
    first). Embedding tables stay as they are: they are not gated, and most of a step would go into updating rows
    that few batches use. Past `deadline` (`time.monotonic` seconds) no step starts; the rates fall with whichever
    of steps and time is used up first.
    """
    weights = _weights(model)
    groups: list[dict[str, Any]] = [{"params": weights, "lr": schedule.weight_rate}]
    groups += [budget.param_group(schedule.gate_rate)] if budget is not None else []
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    peaks = [group["lr"] for group in optimiser.param_groups]
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    trained = {parameter for group in groups for parameter in group["params"]}
    losses: list[float] = []
    start = time.monotonic()
    model.train()
    try:
        for parameter in wanted:
            parameter.requires_grad_(parameter in trained)
        for batch in _endless(task, schedule):
            spent = _spent(len(losses), schedule, start, deadline)
            if spent >= 1.0:
                break
            scale = min(1.0, (len(losses) + 1) / schedule.warmup) * (1.0 - spent)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * scale
            losses.append(_step(task, model, batch, optimiser, budget))
            if on_step is not None:
                on_step(len(losses))
    finally:
        for parameter, required in wanted.items():
            parameter.requires_grad_(required)
            parameter.grad = None
        model.eval()
    tail = losses[-max(1, len(losses) // 10) :]
    return Trained(len(losses), time.monotonic() - start, sum(tail) / len(tail) if tail else None)


def _step(
    task: Task, model: nn.Module, batch: Any, optimiser: torch.optim.Optimizer, budget: Budget | None
) -> float:
    loss = task.loss(model, batch)
    total = loss if budget is None else loss + budget.penalty()
    optimiser.zero_grad()
    total.backward()
    optimiser.step()
    if budget is not None:
        budget.step()
    return float(loss.detach())


def _spent(done: int, schedule: Schedule, start: float, deadline: float | None) -> float:
    """Share of the steps or of the time that is used up, whichever is larger."""
    steps = done / schedule.steps if schedule.steps else 1.0
    if deadline is None:
        return steps
    allowed = deadline - start
    return max(steps, (time.monotonic() - start) / allowed) if allowed > 0 else 1.0


def _endless(task: Task, schedule: Schedule) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from task.batches(schedule.batch, schedule.seed + epoch)
        epoch += 1


def _weights(model: nn.Module) -> list[nn.Parameter]:
    """Every parameter that is neither a gate's nor an embedding table's."""
    return [
        parameter
        for module in model.modules()
        if not isinstance(module, nn.Embedding | Gate)
        for parameter in module.parameters(recurse=False)
    ]
