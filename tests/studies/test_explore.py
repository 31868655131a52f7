"""Trials, finalists and sweep: number, order, time, and which one wins."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
from instant import FormulaFitter, make_evaluator, make_fitter

from l0compile.errors import BuildError
from l0compile.hardware.targets import load_target
from l0compile.pruning.prices import Prices
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.finalist import Finalist
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import AIM, HIGHEST, LOWEST, Fitted
from l0compile.studies.result import Candidate
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Effort, Space
from l0compile.studies.study.clock import PHASE_AT_LEAST, Clock
from l0compile.studies.study.progress import Silent
from l0compile.studies.study.study import open_study

FINALISTS = Effort().finalists


class Told(Silent):
    def __init__(self) -> None:
        self.candidates: list[tuple[Candidate, Candidate | None]] = []

    def candidate(self, candidate: Candidate, best: Candidate | None) -> None:
        self.candidates.append((candidate, best))


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("explore"))


@pytest.fixture
def fitter(evaluator: Evaluator, tmp_path: Path) -> FormulaFitter:
    return make_fitter(evaluator, tmp_path, 0.7)


def exploring(
    fitter: FormulaFitter, out: Path, trials: int, seconds: float = 3600, resume: bool = False,
    sweep: tuple[float, ...] = (1.0,), finalists: int = FINALISTS,
) -> Exploration:  # fmt: skip
    space = fitter.evaluator.space
    effort = dataclasses.replace(space.effort, trials=trials, sweep=sweep, finalists=finalists)
    study = open_study(dataclasses.replace(space, effort=effort), out, resume=resume, conditions="here")
    prices = Prices(load_target("native"), None)
    return Exploration(study, fitter.evaluator, fitter, prices, Clock(time.monotonic(), seconds), Told())


def test_trials_begin_with_the_neutral_one_and_have_one_price(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploration = exploring(fitter, tmp_path, 5)
    exploration.run_trials()
    trials = exploration.study.trials()
    assert len(trials) == 5 and trials[0].choices == exploration.study.neutral()
    price = exploration.study.remembered("price_ms")
    # Learned from a few plans that were measured before the first trial; trials are not.
    assert 1 <= len(fitter.timed) <= 3
    assert abs(fitter.formula(price) / fitter.budget.ms - AIM) < 0.02
    for trial in trials:
        assert trial.outcome is not None and 0.9 * price < trial.outcome.price_ms <= price * (1 + 1e-9)
    told = exploration.progress.candidates  # type: ignore[attr-defined]
    assert [candidate for candidate, _ in told] == [trial.candidate() for trial in trials]
    assert told[-1][1] == exploration.study.best()[0].candidate()


def test_the_price_of_an_earlier_run_is_kept(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploring(fitter, tmp_path, 1).run_trials()
    price = fitter.price(fitter.budget.ms)
    fitter.points.append((0.5 * price, 1.01 * fitter.budget.ms))  # it would be another one now
    assert fitter.price(fitter.budget.ms) < 0.9 * price
    again = exploring(fitter, tmp_path, 2, resume=True)
    again.run_trials()
    outcomes = [trial.outcome for trial in again.study.trials()]
    assert len(outcomes) == 2 and all(found and found.price_ms > 0.9 * price for found in outcomes)


def test_without_time_one_of_each_is_run(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploration = exploring(fitter, tmp_path, 4, seconds=0.0, sweep=(1.0, 0.8, 1.2))
    exploration.run_trials()
    exploration.run_finalists()
    assert (len(exploration.study.trials()), len(exploration.finalists)) == (1, 1)
    exploration.run_sweep()
    assert [finalist.wanted for finalist in exploration.finalists] == [1.0, 0.8]


def test_the_best_trials_are_fitted_and_swept(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploration = exploring(fitter, tmp_path, 12, sweep=(1.0, 0.8, 1.2))
    exploration.run_trials()
    exploration.run_finalists()
    numbers = [trial.number for trial in exploration.study.best(FINALISTS)]
    assert [finalist.trial.number for finalist in exploration.finalists] == numbers and len(
        numbers
    ) == FINALISTS
    exploration.run_sweep()
    winner = exploration.winner()
    assert winner is not None and winner.fast_enough and winner.quality > 0.8
    swept = exploration.finalists[FINALISTS:]
    assert [(item.trial, item.wanted) for item in swept] == [(winner.trial, 0.8), (winner.trial, 1.2)]
    for finalist in exploration.finalists:
        assert LOWEST * finalist.wanted <= finalist.fitted.load <= HIGHEST * finalist.wanted
        candidate = finalist.candidate(fitter.budget.ms)
        assert candidate.outcome == "fitted" and candidate.latency == finalist.fitted.latency
        assert candidate.wanted_ms == pytest.approx(finalist.wanted * fitter.budget.ms)
        assert candidate.layers == finalist.fitted.plan.to_json()
    assert exploration.failures == []


@pytest.mark.parametrize("dense", [None, 1.0, 100.0], ids=["not known", "kept", "collapsed"])
def test_where_the_quality_has_collapsed_fits_go_on(
    fitter: FormulaFitter, tmp_path: Path, dense: float | None
) -> None:
    exploration = exploring(fitter, tmp_path, 4)
    exploration.dense = dense
    exploration.run_trials()
    exploration.run_finalists()
    assert len(exploration.finalists) == 2 + (dense == 100.0)
    assert exploration.finalists[-1].wanted == exploration.wanted


def test_finalists_of_an_earlier_run_are_not_fitted_again(fitter: FormulaFitter, tmp_path: Path) -> None:
    first = exploring(fitter, tmp_path, 4, sweep=(1.0, 0.8))
    first.run_trials()
    first.run_finalists()
    fresh = make_fitter(fitter.evaluator, tmp_path, 0.7)
    again = exploring(fresh, tmp_path, 4, sweep=(1.0, 0.8), resume=True)
    again.restore()
    again.run_trials()
    again.run_finalists()
    assert again.finalists == first.finalists and fresh.timed == []
    assert fresh.points[1:] == [(f.fitted.plan.ms, f.fitted.load * fresh.budget.ms) for f in first.finalists]
    again.run_sweep()
    assert [finalist.wanted for finalist in again.finalists[len(first.finalists) :]] == [0.8] and fresh.timed


def test_a_finalist_whose_levels_are_gone_is_left_out(fitter: FormulaFitter, tmp_path: Path) -> None:
    first = exploring(fitter, tmp_path, 1)
    first.run_trials()
    first.run_finalists()
    (data,) = first.study.remembered("finalists")
    name = next(iter(data["levels"]))
    gone = {**data, "levels": {**data["levels"], name: [[64, 64], 1]}}
    first.study.remember("finalists", [gone, {**data, "trial": 99}])
    again = exploring(fitter, tmp_path, 1, resume=True)
    again.restore()
    assert again.finalists == []


def test_training_and_solving_are_what_a_finalist_is_rated_by(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploration = exploring(fitter, tmp_path, 1)
    exploration.run_trials()
    task = fitter.evaluator.task
    before = task.losses  # type: ignore[attr-defined]
    exploration.run_finalists()
    assert task.losses - before == fitter.evaluator.space.training.candidate_steps  # type: ignore[attr-defined]
    (finalist,) = exploration.finalists
    bare = fitter.evaluator.realised(finalist.fitted.plan)
    assert finalist.quality > task.quality(bare, "validation")


def test_the_winner_is_the_best_of_those_in_time(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploration = exploring(fitter, tmp_path, 1)
    assert exploration.winner() is None
    exploration.run_trials()
    fitted, trial = fitter.fit(exploration.study.neutral(), fitter.budget.ms), exploration.study.trials()[0]

    def finalist(load: float, quality: float, wanted: float = 1.0) -> Finalist:
        return Finalist(trial, dataclasses.replace(fitted, load=load), (quality,), wanted)

    exploration.finalists = [finalist(1.2, 0.99), finalist(1.1, 0.9), finalist(1.25, 0.999, 1.3)]
    assert exploration.winner() is exploration.finalists[1]
    exploration.finalists += [finalist(0.97, 0.8), finalist(0.98, 0.85), finalist(0.7, 0.84, 0.75)]
    assert exploration.winner() is exploration.finalists[-2]
    # What was made for another budget and is within this one may be the best of all.
    exploration.finalists.append(finalist(0.99, 0.95, 1.3))
    assert exploration.winner() is exploration.finalists[-1]


def test_what_cannot_be_fitted_is_told(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploration = exploring(fitter, tmp_path, 2, sweep=(0.8,))
    exploration.run_trials()
    fitter.measured.clear()
    fitter.error = BuildError("no kernel for this")
    exploration.run_finalists()
    exploration.run_sweep()
    assert [(item.outcome, item.error) for item in exploration.failures] == [
        ("failed", "no kernel for this")
    ] * len(exploration.study.best(FINALISTS))
    assert exploration.finalists == [] and exploration.winner() is None


def test_where_no_finalist_can_be_built_the_next_trial_is_tried(
    fitter: FormulaFitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exploration = exploring(fitter, tmp_path, 16)
    exploration.run_trials()
    best = exploration.study.best(16)
    assert len(best) > FINALISTS
    works, fit = best[FINALISTS], fitter.fit

    def fails(choices: Choices, *rest: Any, **named: Any) -> Fitted:
        if choices != works.choices:
            raise BuildError("no kernel for this")
        return fit(choices, *rest, **named)

    monkeypatch.setattr(fitter, "fit", fails)
    exploration.run_finalists()
    assert [finalist.trial for finalist in exploration.finalists] == [works]
    assert len(exploration.failures) == FINALISTS


def test_the_winner_keeps_a_share_of_the_time() -> None:
    late = Clock(time.monotonic() - 100, 100)
    assert late.winner_deadline() == pytest.approx(time.monotonic() + 2, abs=1)
    early = Clock(time.monotonic(), 100)
    early.begin(reserve_s=30)
    assert early.winner_deadline() == pytest.approx(early.start + 70, abs=0.1)


def test_phases_share_what_is_left_after_set_up_and_before_the_final_table() -> None:
    clock = Clock(time.monotonic() - 40, 100)
    clock.begin(reserve_s=20)
    assert clock.at(0.5) == pytest.approx(clock.start + 60, abs=0.1)
    assert clock.until(0.5) == pytest.approx(clock.at(0.5)) and clock.end == clock.start + 100
    # After phases that took longer than planned a later one gets a part of the rest, and nothing where none is left.
    assert clock.until(0.1) == pytest.approx(time.monotonic() + PHASE_AT_LEAST * 40, abs=0.1)
    over = Clock(time.monotonic() - 200, 100)
    over.begin(reserve_s=20)
    assert over.until(0.9) <= time.monotonic()
