"""Trials, finalists and sweep: number, order, time, and which one wins."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
from driven import FINALISTS, TRIALS, enough, searching
from instant import FormulaFitter, make_fitter

from l0compile.errors import BuildError
from l0compile.studies.explore.finalists import (
    best_finalist,
    fit_finalists,
    restore_finalists,
    sweep_budgets,
)
from l0compile.studies.fit.finalist import Finalist
from l0compile.studies.fit.fit import AIM, HIGHEST, LOWEST, Fitted
from l0compile.studies.space.candidate import Choices
from l0compile.studies.study.clock import PHASE_AT_LEAST, Clock


def test_trials_begin_with_the_neutral_one_and_have_one_price(fitter: FormulaFitter, tmp_path: Path) -> None:
    search = searching(fitter, tmp_path, 5)
    search.run(*TRIALS)
    trials = search.context.study.trials()
    # Five different ones, or as many draws as a space with fewer gets.
    assert enough(trials, 5) and trials[0].choices == search.context.study.neutral()
    price = search.state.kept.price_ms
    assert price is not None
    # Learned from a few plans that were measured before the first trial; trials are not.
    assert 1 <= len(fitter.timed) <= 3
    assert abs(fitter.formula(price) / fitter.budget.ms - AIM) < 0.02
    for trial in trials:
        assert trial.outcome is not None and 0.9 * price < trial.outcome.price_ms <= price * (1 + 1e-9)
    told = search.context.progress.candidates  # type: ignore[attr-defined]
    first = {
        trial.outcome.structure: trial for trial in reversed(trials) if trial.outcome
    }  # that evaluated a model
    different = [trial for trial in trials if trial in first.values()]
    assert [candidate for candidate, _ in told] == [trial.candidate() for trial in different]
    assert told[-1][1] == search.context.study.best()[0].candidate()


def test_the_price_of_an_earlier_run_is_kept(fitter: FormulaFitter, tmp_path: Path) -> None:
    searching(fitter, tmp_path, 1).run(*TRIALS)
    price = fitter.price(fitter.budget.ms)
    fitter.points.append((0.5 * price, 1.01 * fitter.budget.ms))  # it would be another one now
    assert fitter.price(fitter.budget.ms) < 0.9 * price
    again = searching(fitter, tmp_path, 2, resume=True)
    again.run(*TRIALS)
    outcomes = [trial.outcome for trial in again.context.study.trials()]
    assert enough(again.context.study.trials(), 2) and all(
        found and found.price_ms > 0.9 * price for found in outcomes
    )


def test_without_time_one_of_each_is_run(fitter: FormulaFitter, tmp_path: Path) -> None:
    search = searching(fitter, tmp_path, 4, seconds=0.0, sweep=(1.0, 0.8, 1.2))
    search.run(*TRIALS)
    search.run(fit_finalists)
    assert (len(search.context.study.trials()), len(search.finalists)) == (1, 1)
    search.run(sweep_budgets)
    assert [finalist.wanted for finalist in search.finalists] == [1.0, 0.8]


def test_the_best_trials_are_fitted_and_swept(fitter: FormulaFitter, tmp_path: Path) -> None:
    search = searching(fitter, tmp_path, 12, sweep=(1.0, 0.8, 1.2))
    search.run(*TRIALS)
    search.run(fit_finalists)
    numbers = [trial.number for trial in search.context.study.best(FINALISTS)]
    assert [finalist.trial.number for finalist in search.finalists] == numbers and len(numbers) == FINALISTS
    search.run(sweep_budgets)
    winner = search.best
    assert winner.fast_enough and winner.quality > 0.8
    swept = search.finalists[FINALISTS:]
    assert [(item.trial, item.wanted) for item in swept] == [(winner.trial, 0.8), (winner.trial, 1.2)]
    for finalist in search.finalists:
        assert LOWEST * finalist.wanted <= finalist.fitted.load <= HIGHEST * finalist.wanted
        candidate = finalist.candidate(fitter.budget.ms)
        assert candidate.outcome == "fitted" and candidate.latency == finalist.fitted.latency
        assert candidate.wanted_ms == pytest.approx(finalist.wanted * fitter.budget.ms)
        assert candidate.layers == finalist.fitted.allocation.to_json()
    assert search.failures == ()


@pytest.mark.parametrize("dense", [None, 1.0, 100.0], ids=["not known", "kept", "collapsed"])
def test_where_the_quality_has_collapsed_fits_go_on(
    fitter: FormulaFitter, tmp_path: Path, dense: float | None
) -> None:
    search = searching(fitter, tmp_path, 4)
    search.change(dense_quality=dense)
    search.run(*TRIALS)
    search.run(fit_finalists)
    fitted = len(search.context.study.best(FINALISTS))
    assert len(search.finalists) == fitted + (dense == 100.0)
    assert search.finalists[-1].wanted == search.state.wanted


def test_finalists_of_an_earlier_run_are_not_fitted_again(fitter: FormulaFitter, tmp_path: Path) -> None:
    first = searching(fitter, tmp_path, 4, sweep=(1.0, 0.8))
    first.run(*TRIALS)
    first.run(fit_finalists)
    fresh = make_fitter(fitter.evaluator, tmp_path, 0.7)
    again = searching(fresh, tmp_path, 4, sweep=(1.0, 0.8), resume=True)
    again.run(restore_finalists)
    again.run(*TRIALS)
    again.run(fit_finalists)
    assert again.finalists == first.finalists and fresh.timed == []
    assert fresh.points[1:] == [
        (f.fitted.allocation.ms, f.fitted.load * fresh.budget.ms) for f in first.finalists
    ]
    again.run(sweep_budgets)
    assert [finalist.wanted for finalist in again.finalists[len(first.finalists) :]] == [0.8] and fresh.timed


def test_a_finalist_whose_levels_are_gone_is_left_out(fitter: FormulaFitter, tmp_path: Path) -> None:
    first = searching(fitter, tmp_path, 1)
    first.run(*TRIALS)
    first.run(fit_finalists)
    kept = first.context.study.state
    (record,) = kept.finalists
    name = next(iter(record.levels))
    gone = dataclasses.replace(record, levels={**record.levels, name: ((64, 64), 1)})
    first.context.study.keep(
        dataclasses.replace(kept, finalists=(gone, dataclasses.replace(record, trial=99)))
    )
    again = searching(fitter, tmp_path, 1, resume=True)
    again.run(restore_finalists)
    assert again.finalists == ()


def test_training_and_solving_are_what_a_finalist_is_rated_by(fitter: FormulaFitter, tmp_path: Path) -> None:
    search = searching(fitter, tmp_path, 1)
    search.run(*TRIALS)
    task = fitter.evaluator.task
    before = task.losses  # type: ignore[attr-defined]
    search.run(fit_finalists)
    assert task.losses - before == fitter.evaluator.space.training.candidate_steps  # type: ignore[attr-defined]
    (finalist,) = search.finalists
    bare = fitter.evaluator.realised(finalist.fitted.allocation)
    assert finalist.quality > task.quality(bare, "validation")


def test_the_winner_is_the_best_of_those_in_time(fitter: FormulaFitter, tmp_path: Path) -> None:
    search = searching(fitter, tmp_path, 1)
    assert best_finalist(search.context.space, search.state) is None
    search.run(*TRIALS)
    fitted, trial = (
        fitter.fit(search.context.study.neutral(), fitter.budget.ms),
        search.context.study.trials()[0],
    )

    def finalist(load: float, quality: float, wanted: float = 1.0) -> Finalist:
        return Finalist(trial, dataclasses.replace(fitted, load=load), (quality,), wanted)

    search.finalists = (finalist(1.2, 0.99), finalist(1.1, 0.9), finalist(1.25, 0.999, 1.3))
    assert search.best is search.finalists[1]
    search.finalists += (finalist(0.97, 0.8), finalist(0.98, 0.85), finalist(0.7, 0.84, 0.75))
    assert search.best is search.finalists[-2]
    # What was made for another budget and is within this one may be the best of all.
    search.finalists += (finalist(0.99, 0.95, 1.3),)
    assert search.best is search.finalists[-1]


def test_what_cannot_be_fitted_is_told(fitter: FormulaFitter, tmp_path: Path) -> None:
    search = searching(fitter, tmp_path, 2, sweep=(0.8,))
    search.run(*TRIALS)
    fitter.measured.clear()
    fitter.error = BuildError("no kernel for this")
    search.run(fit_finalists)
    search.run(sweep_budgets)
    assert [(item.outcome, item.error) for item in search.failures] == [
        ("failed", "no kernel for this")
    ] * len(search.context.study.best(FINALISTS))
    assert search.finalists == () and best_finalist(search.context.space, search.state) is None


def test_where_no_finalist_can_be_built_the_next_trial_is_tried(
    fitter: FormulaFitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = searching(fitter, tmp_path, 16)
    search.run(*TRIALS)
    best = search.context.study.best(16)
    assert len(best) > FINALISTS
    works, fit = best[FINALISTS], fitter.fit

    def fails(choices: Choices, *rest: Any, **named: Any) -> Fitted:
        if choices != works.choices:
            raise BuildError("no kernel for this")
        return fit(choices, *rest, **named)

    monkeypatch.setattr(fitter, "fit", fails)
    search.run(fit_finalists)
    assert [finalist.trial for finalist in search.finalists] == [works]
    assert len(search.failures) == FINALISTS


def test_the_winner_keeps_a_share_of_the_time() -> None:
    late = Clock(time.monotonic() - 100, 100)
    assert late.winner_deadline() == pytest.approx(time.monotonic() + 2, abs=1)
    early = Clock(time.monotonic(), 100)
    early = early.set_up(reserve_s=30)
    assert early.winner_deadline() == pytest.approx(early.start + 70, abs=0.1)


def test_phases_share_what_is_left_after_set_up_and_before_the_final_table() -> None:
    clock = Clock(time.monotonic() - 40, 100)
    clock = clock.set_up(reserve_s=20)
    assert clock.at(0.5) == pytest.approx(clock.start + 60, abs=0.1)
    assert clock.until(0.5) == pytest.approx(clock.at(0.5)) and clock.end == clock.start + 100
    # After phases that took longer than planned a later one gets a part of the rest, and nothing where none is left.
    assert clock.until(0.1) == pytest.approx(time.monotonic() + PHASE_AT_LEAST * 40, abs=0.1)
    over = Clock(time.monotonic() - 200, 100)
    over = over.set_up(reserve_s=20)
    assert over.until(0.9) <= time.monotonic()
