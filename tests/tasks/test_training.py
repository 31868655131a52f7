"""Training: the same parameters bit for bit, interrupted or not; averages; what has weight decay."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from l0compile.gates import Budget, Feature, attach, named_gates
from l0compile.tasks import Checkpoint, Schedule, train
from l0compile.tasks.progress import Teller
from tests.tasks.points import Points

SCHEDULE = Schedule(24, batch=32, weight_rate=1e-2, gate_rate=0.3, weight_decay=0.1, average=0.9, seed=3)


def gated(task: Points) -> tuple[nn.Module, Budget]:
    model = attach(task.build(0), {"representation": Feature(16)})
    return model, Budget(model, 0.5, SCHEDULE.steps, warmup=0.2, dual_lr=20.0)


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def test_a_resumed_training_gives_the_same_bits(tmp_path: Path) -> None:
    task = Points()
    whole, budget = gated(task)
    train(task, whole, SCHEDULE, budget=budget)

    stops = [7, 15]

    def stop(step: int) -> None:
        if step in stops:
            stops.remove(step)
            raise Interrupted

    file = tmp_path / "training.safetensors"
    for interruptions in range(3):
        torch.manual_seed(interruptions)  # what happens outside of a training does not matter to it
        resumed, kept = gated(task)
        checkpoint = Checkpoint(file, "points", every_s=0.0)
        try:
            train(task, resumed, SCHEDULE, budget=kept, checkpoint=checkpoint, on_step=stop)
        except Interrupted:
            # The step itself was not written: the call comes before.
            assert interruptions < 2
    assert (kept.multiplier, kept.done) == (budget.multiplier, budget.done)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_noise_outside_goes_on_as_if_nothing_had_been_trained() -> None:
    task = Points()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(task, task.build(0), SCHEDULE)
    assert torch.equal(torch.rand(3), expected)


def test_seeds_differ() -> None:
    task = Points()
    models = [task.build(0) for _ in range(2)]
    for seed, model in enumerate(models):
        train(task, model, Schedule(3, seed=seed))
    assert not torch.equal(models[0].up.weight, models[1].up.weight)


def test_the_average_replaces_the_parameters() -> None:
    task = Points()
    history: list[dict[str, Any]] = []
    model = task.build(0)
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def note(step: int) -> None:
        history.append({name: value.clone() for name, value in model.state_dict().items()})

    train(task, model, SCHEDULE, on_step=note)
    for name, expected in start.items():
        for step, parameters in enumerate(history, start=1):
            decay = min(0.9, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * parameters[name]
        torch.testing.assert_close(model.state_dict()[name], expected)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.line = nn.Embedding(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.line(self.table(torch.arange(4)).mean(0) + x)
        return found


@pytest.mark.parametrize("embeddings", [False, True])
def test_tables_train_where_the_schedule_says_so(embeddings: bool) -> None:
    model = Table()
    before = model.table.weight.detach().clone()
    train(Points(), model, Schedule(3, embeddings=embeddings))
    assert torch.equal(before, model.table.weight) != embeddings


def test_matrices_alone_decay() -> None:
    class Zero(Points):
        def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
            return sum((0.0 * parameter.sum() for parameter in model.parameters()), torch.zeros(()))

    model = Table()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(Zero(), model, Schedule(5, weight_rate=0.1, warmup=1, weight_decay=0.5, embeddings=True))
    after = model.state_dict()
    assert torch.equal(after["line.bias"], before["line.bias"])
    assert torch.equal(after["table.weight"], before["table.weight"])
    assert bool((after["line.weight"].abs() < before["line.weight"].abs()).all())


def test_gates_have_no_decay_and_their_own_rate() -> None:
    task = Points()
    model, budget = gated(task)
    (gate,) = named_gates(model).values()
    before = gate.log_alpha.detach().clone()
    train(task, model, Schedule(2, weight_rate=0.0, gate_rate=0.3, warmup=1), budget=budget)
    assert float((gate.log_alpha.detach() - before).abs().max()) > 0.1


def test_it_tells_of_itself() -> None:
    task, told = Points(), list[str]()
    model, budget = gated(task)
    train(task, model, SCHEDULE, budget=budget, told=told.append)
    assert (
        len(told) == 1 and told[0].startswith("step 24 of 24: loss ") and told[0].endswith(" about 0 s left")
    )
    assert " active, 50.0% allowed" in told[0]


def test_the_time_left_follows_from_the_steps_and_the_deadline() -> None:
    told: list[str] = []
    now = time.monotonic()
    for deadline in (None, now + 20.0):
        Teller(told.append, 100, None, now - 30.0, deadline, every_s=0.0).step(25, 0.5)
    Teller(None, 100, None, now, every_s=0.0).step(25, 0.5)
    assert told == [f"step 25 of 100: loss 0.5, about {left} s left" for left in (90, 20)]
