"""The winner's gates under its budget: where they start, what they may cost, and that the latency is met."""

import time
from pathlib import Path

import pytest
import torch
from instant import MaskFitter, make_evaluator, make_fitter, price

from l0compile.gates import dense_weight, named_gates, unhardened
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND
from l0compile.hardware.targets import load_target
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import HIGHEST, LOWEST, Fitted
from l0compile.studies.pruning.masks import gated_layers
from l0compile.studies.pruning.prices import Prices
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.studies.train.gates import Gated, fit_gates, train_gates, undecided
from l0compile.tasks import Schedule

PRICES = Prices(load_target("native"), None)


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("gates"))


@pytest.fixture
def fitter(evaluator: Evaluator, tmp_path: Path) -> MaskFitter:
    made = make_fitter(evaluator, tmp_path, 0.7)
    return MaskFitter(evaluator, made.bench, made.budget, made.points, dense_ms=made.dense_ms)


@pytest.fixture
def fitted(fitter: MaskFitter) -> Fitted:
    return fitter.fit(Choices(), fitter.budget.ms)


def trained(evaluator: Evaluator, fitted: Fitted, steps: int) -> Gated:
    return train_gates(evaluator, fitted, PRICES, Schedule(steps, 16, 1e-4), time.monotonic() + 60.0)


def test_gates_start_at_the_plan_and_closed_blocks_keep_the_dense_weights(
    evaluator: Evaluator, fitted: Fitted
) -> None:
    model = undecided(evaluator, fitted)
    assert unhardened(model)
    dense, layers, between = evaluator.task.dense(), gated_layers(model), 0
    for name, gate in named_gates(model).items():
        owner = name.rpartition(".")[0]
        level = fitted.allocation.layers.get(owner)
        if level is None or level.block is None or not name.endswith("l0_block"):
            continue
        live = evaluator.menu.paths[owner][level.block].live(level.number)
        assert torch.equal(gate.log_alpha > 0, live)
        between += int((gate.log_alpha.abs() < LOG_ALPHA_BOUND).sum())
        closed = ~live.repeat_interleave(level.block[0], 0).repeat_interleave(level.block[1], 1)
        weight = dense_weight(layers[owner]).detach()
        assert torch.equal(weight[closed], dense.get_submodule(owner).weight[closed])
    assert between > 0


def test_hardened_gates_keep_the_limit_or_a_share_of_it(evaluator: Evaluator, fitted: Fitted) -> None:
    gated = trained(evaluator, fitted, 12)
    whole = sum(level.ms for name, level in fitted.allocation.layers.items() if name in evaluator.menu.units)
    alone = [
        evaluator.menu.alone(name, level).ms
        for name, level in fitted.allocation.layers.items()
        if name not in evaluator.menu.units
    ]
    assert gated.history.steps == 12 and gated.limit_ms == pytest.approx(sum(alone))
    assert gated.limit_ms + whole >= fitted.allocation.ms  # what closed heads save is not in it
    prices = [price(evaluator, gated.hardened(share)) - whole for share in (1.0, 0.7, 1.0)]
    assert prices[0] == prices[2] <= gated.limit_ms * (1 + 1e-6)
    assert prices[1] <= 0.7 * gated.limit_ms * (1 + 1e-6)


@pytest.mark.parametrize("slope", [1.0, 1.4, 1.9])
def test_the_latency_is_met_whatever_the_prices_leave_out(
    evaluator: Evaluator, fitter: MaskFitter, fitted: Fitted, slope: float
) -> None:
    gated = trained(evaluator, fitted, 4)
    fitter.slope = slope  # the machine is not what it was
    found = fit_gates(gated, fitter, fitted, fitter.budget.ms)
    if found is None:
        assert len(fitter.timed) >= 6
        return
    assert LOWEST <= found.load <= HIGHEST
    assert fitter.formula(price(evaluator, gated.model)) == pytest.approx(found.load * fitter.budget.ms)
    assert found.allocation.layers.keys() == fitted.allocation.layers.keys()
