"""A winner that gets its zeros in stages: nested zeros, weights that go on, the latency met, and a run that goes on."""

import dataclasses
import time
from pathlib import Path

import pytest
import torch
from driven import TRIALS, Driven, driven
from instant import FormulaFitter, make_evaluator, make_fitter, price
from tiny_task import TinyTask
from torch import nn

from l0compile.errors import BuildError
from l0compile.gates import Block, attach, harden, named_gates
from l0compile.hardware.targets import load_target
from l0compile.studies.explore.finalists import fit_finalists, restore_finalists
from l0compile.studies.finish.winner import train_winner
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import HIGHEST, LOWEST
from l0compile.studies.pruning.masks import gated_layers, live_mask
from l0compile.studies.pruning.prices import Prices
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.studies.train.stages import EARLY, fit_last_stage, onwards, train_in_stages, without_gates

PRICES = Prices(load_target("native"), None)
STEPS = 20


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("stages"))


def searched(evaluator: Evaluator, out: Path, stages: int, *, resume: bool = False) -> Driven:
    """A search with one trial and a finalist of it."""
    training = dataclasses.replace(evaluator.space.training, stages=stages, tune_steps=STEPS)
    effort = dataclasses.replace(evaluator.space.effort, trials=1, finalists=1)
    fitter = make_fitter(evaluator, out, 0.6)
    found = driven(fitter, out, resume=resume, training=training, effort=effort)
    found.run(restore_finalists, *TRIALS, fit_finalists)
    return found


def test_without_gates_a_model_is_the_same(evaluator: Evaluator) -> None:
    model = evaluator.realised(evaluator.allocate(Choices(), 0.5 * evaluator.menu.dense_ms))
    evaluator.solve(model)
    plain = without_gates(model, evaluator.task.dense())
    (ids,) = evaluator.task.example()
    assert torch.allclose(plain(ids), model(ids), atol=1e-6)
    assert not gated_layers(plain)
    for name, layer in gated_layers(model).items():
        assert torch.equal(plain.get_submodule(name).weight.ne(0), live_mask(layer)), name


def test_running_statistics_go_on_as_well() -> None:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))

    model = attach(made(), {"0": Block(4, 1)})
    for gate in named_gates(model).values():
        with torch.no_grad():
            gate.log_alpha[:, ::2] = -9.0
    harden(model, values="binary").train()
    x = 5.0 + torch.randn(64, 8)
    for _ in range(20):
        model(x)
    model.eval()
    assert torch.allclose(without_gates(model, made())(x), model(x), atol=1e-5)


def test_a_last_stage_that_fails_is_told_and_leaves_the_first_plan(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    search = searched(evaluator, tmp_path, 2)
    finalist, told = search.best, []
    assert isinstance(search.context.fitter, FormulaFitter)
    search.context.fitter.error = BuildError("no kernel for this")
    search.context.progress.note = told.append  # type: ignore[method-assign]
    state, found = train_winner(search.context, search.state, finalist, time.monotonic() + 600.0)
    assert found.finalist is finalist and list(found.history) == ["weights"]
    reason = "the last stage failed: no kernel for this"
    assert f"  WARNING: {reason}: going on with the first allocation" in told
    assert [item.error for item in state.failures] == [reason]


def test_what_was_zero_stays_so_and_weights_go_on(evaluator: Evaluator) -> None:
    plan = evaluator.allocate(Choices(), 0.6 * evaluator.menu.dense_ms)
    model = evaluator.realised(plan)
    evaluator.solve(model)
    for parameter in model.parameters():
        parameter.data.mul_(1.01)  # as if trained
    further = onwards(evaluator, model, plan, PRICES)
    same = further.allocate(Choices(), plan.ms)
    assert same.loss == pytest.approx(0.0, abs=1e-9)
    again = further.realised(same)
    (ids,) = evaluator.task.example()
    assert torch.allclose(again(ids), model(ids), atol=1e-6)
    least = further.realised(further.allocate(Choices(), 0.7 * plan.ms))
    first, last = gated_layers(model), gated_layers(least)
    assert first.keys() == last.keys()
    for name, layer in last.items():
        assert not (live_mask(layer) & ~live_mask(first[name])).any(), name
    assert sum(int(live_mask(layer).sum()) for layer in last.values()) < sum(
        int(live_mask(layer).sum()) for layer in first.values()
    )


@pytest.mark.parametrize("stages", [2, 3])
def test_a_winner_in_stages_meets_its_budget(evaluator: Evaluator, tmp_path: Path, stages: int) -> None:
    search = searched(evaluator, tmp_path, stages)
    finalist = search.best
    state, found = train_winner(search.context, search.state, finalist, time.monotonic() + 600.0)
    early = [f"stage {number}" for number in range(1, stages)]
    assert list(found.history) == [*early, "weights"]
    assert [found.history[name].steps for name in early] == [round(EARLY * STEPS / (stages - 1))] * len(early)
    assert found.history["weights"].steps == round((1 - EARLY) * STEPS)
    assert LOWEST <= found.finalist.fitted.load <= HIGHEST
    assert price(evaluator, found.model) == pytest.approx(found.finalist.fitted.allocation.ms, rel=1e-3)
    assert state.finalists == (found.finalist,) and found.finalist.fitted != finalist.fitted
    task = evaluator.task
    assert task.quality(found.model, "validation") > found.finalist.quality - 0.02


def test_a_last_stage_that_is_too_slow_leaves_the_first_plan(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = searched(evaluator, tmp_path, 2)
    finalist = search.best
    fitter = search.context.fitter
    assert isinstance(fitter, FormulaFitter)
    fitter.rest = 2.0  # from now on nothing is quick enough
    state, found = train_winner(search.context, search.state, finalist, time.monotonic() + 600.0)
    assert found.finalist is finalist and list(found.history) == ["weights"]
    assert [item.error for item in state.failures] == ["the last stage did not meet the budget"]
    assert price(evaluator, found.model) == pytest.approx(finalist.fitted.allocation.ms, rel=1e-3)


def test_a_search_that_goes_on_trains_no_stage_twice(evaluator: Evaluator, tmp_path: Path) -> None:
    search = searched(evaluator, tmp_path, 2)
    finalist, deadline = search.best, time.monotonic() + 600.0
    staged = train_in_stages(search.context, finalist.fitted, deadline)
    fitted = fit_last_stage(search.context, staged, finalist)
    again = searched(evaluator, tmp_path, 2, resume=True)
    assert isinstance(again.context.fitter, FormulaFitter) and isinstance(evaluator.task, TinyTask)
    before, timed = evaluator.task.losses, list(again.context.fitter.timed)
    same = train_in_stages(again.context, again.best.fitted, deadline)
    refitted = fit_last_stage(again.context, same, again.best)
    assert evaluator.task.losses == before and again.context.fitter.timed == timed
    assert (refitted.structure, refitted.allocation.layers) == (fitted.structure, fitted.allocation.layers)
    model, other = (found.evaluator.realised(refitted.allocation) for found in (staged, same))
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
