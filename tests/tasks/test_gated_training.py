"""L0 annealing: open, closing, closed to an exact count, and the same bits for the same seed."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import ConfigError
from l0compile.gates import Neuron, hardening, named_gates
from l0compile.tasks import Annealing, Schedule, representation_gate, train_gated
from tests.tasks.points import WIDTH, Points

SCHEDULE = Schedule(80, batch=32, weight_rate=5e-3, gate_rate=0.2, seed=1)
GATES = representation_gate(Points())


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Points:
    return Points()


@pytest.fixture
def dense(task: Points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path))
    return task.dense()


@pytest.mark.parametrize("fraction", [0.05, 0.25, 0.5, 1.0])
def test_the_fraction_asked_for_is_the_fraction_reached(
    task: Points, dense: nn.Module, fraction: float
) -> None:
    done = train_gated(task, dense, GATES, fraction, SCHEDULE)
    (gate,) = named_gates(dense).values()
    assert int((gate.z != 0).sum()) == round(fraction * WIDTH)
    assert done.achieved == pytest.approx(round(fraction * WIDTH) / WIDTH)
    assert done.gates.steps + done.weights.steps == SCHEDULE.steps
    record = hardening(dense)
    assert record is not None and record.requested == fraction


def test_a_quarter_of_the_features_classifies_as_well(task: Points, dense: nn.Module) -> None:
    before, found = task.quality(dense, "held_out"), []
    for seed in (1, 2, 3):  # in 80 steps half of all seeds end in a worse choice of features
        model = copy.deepcopy(dense)
        train_gated(task, model, GATES, 0.25, replace(SCHEDULE, steps=400, seed=seed))
        found.append(task.quality(model, "held_out"))
    assert min(found) > before - 0.05 > 0.7, found


def test_compiled_the_answers_are_the_same(task: Points, dense: nn.Module) -> None:
    train_gated(task, dense, GATES | {"classify": Neuron()}, 0.5, SCHEDULE, scope="global")
    compiled = l0.compile(dense, task.example(), dynamic_shapes=task.dynamic_shapes())
    expected, got = task.logits(dense, "held_out"), task.logits(compiled, "held_out")
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(got.argmax(1), expected.argmax(1))


def test_the_same_seed_gives_the_same_gates(task: Points, dense: nn.Module, tmp_path: Path) -> None:
    gates = []
    for folder in (None, tmp_path / "kept", tmp_path / "kept"):
        model = task.dense()
        train_gated(task, model, GATES, 0.25, SCHEDULE, folder=folder)
        gates.append(model.state_dict())
    for other in gates[1:]:
        assert all(
            torch.equal(value, other[name]) or math.isnan(value.sum()) for name, value in gates[0].items()
        )


def test_gates_stay_open_during_the_warm_up(task: Points, dense: nn.Module) -> None:
    shares: list[float] = []

    def note(step: int) -> None:
        (gate,) = named_gates(dense).values()
        shares.append(float(gate.open_probability().detach().mean()))

    annealing = Annealing(warm_up=0.3, ramp=0.3, hold=0.2)
    train_gated(task, dense, GATES, 0.25, SCHEDULE, annealing=annealing, on_step=note)
    assert len(shares) == SCHEDULE.steps
    assert min(shares[: int(0.3 * SCHEDULE.steps)]) > 0.9
    assert set(shares[int(0.8 * SCHEDULE.steps) + 1 :]) == {0.25}


@pytest.mark.parametrize("fraction", [0.0, 1.5, math.nan])
def test_fractions_out_of_range_are_refused(task: Points, fraction: float) -> None:
    with pytest.raises(ConfigError, match="fraction: expected"):
        train_gated(task, task.build(0), GATES, fraction, SCHEDULE)


@pytest.mark.parametrize("shares", [(-0.1, 0.5, 0.1), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)])
def test_shares_out_of_range_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="annealing: expected shares"):
        Annealing(*shares)
