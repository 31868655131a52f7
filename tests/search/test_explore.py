"""Trials and sweep: number, order and time."""

import dataclasses
import time
from pathlib import Path

import pytest
from instant import InstantEvaluator, make_evaluator

from l0compile.search import Silent, Space
from l0compile.search.explore import TARGET, Clock, run_sweep, run_trials
from l0compile.search.run import legal_shapes
from l0compile.search.study import Study, open_study

DENSE_LOAD = 10.0 / 6.0
"""Of the formula in `instant`: 10 ms dense, 6 ms allowed."""


@pytest.fixture
def study(space: Space, tmp_path: Path) -> Study:
    return open_study(space, legal_shapes(space), tmp_path, resume=False, conditions="here")


@pytest.fixture
def evaluator(space: Space, tmp_path: Path) -> InstantEvaluator:
    return make_evaluator(space, tmp_path)


def clock(seconds: float) -> Clock:
    return Clock(time.monotonic(), seconds)


def test_trials_start_at_the_budget_with_each_shape(study: Study, evaluator: InstantEvaluator) -> None:
    run_trials(study, evaluator, DENSE_LOAD, clock(3600), Silent())
    trials = study.trials()
    assert len(trials) == study.space.effort.trials == 3
    assert [trial.choices.shape["blocks"] for trial in trials[:2]] == [(4, 1), (4, 4)]
    for trial in trials[:2]:
        assert trial.outcome is not None and trial.outcome.fast_enough
        assert trial.outcome.load == pytest.approx(TARGET, abs=0.03)


def test_without_time_one_trial_runs(study: Study, evaluator: InstantEvaluator) -> None:
    run_trials(study, evaluator, DENSE_LOAD, clock(0.0), Silent())
    run_sweep(study, evaluator, DENSE_LOAD, clock(0.0), Silent())
    assert len(study.trials()) == 1


def test_what_waits_is_run_however_late_it_is(study: Study, evaluator: InstantEvaluator) -> None:
    run_trials(study, evaluator, DENSE_LOAD, clock(0.0), Silent())
    choices = study.trials()[0].choices.scaled(study.space, 0.9)
    study.enqueue(choices)
    run_trials(study, evaluator, DENSE_LOAD, clock(0.0), Silent())
    assert [trial.choices for trial in study.trials()[1:]] == [choices] and not study.waiting()


def test_sweep_points_lie_around_the_budget_and_are_trained_once(
    space: Space, tmp_path: Path, evaluator: InstantEvaluator, study: Study
) -> None:
    wide = dataclasses.replace(
        space, effort=dataclasses.replace(space.effort, trials=1, sweep=(1.0, 0.7, 1.3))
    )
    swept = dataclasses.replace(study, space=wide)
    for _ in range(2):
        run_trials(swept, evaluator, DENSE_LOAD, clock(3600), Silent())
        run_sweep(swept, evaluator, DENSE_LOAD, clock(3600), Silent())
    trials = swept.trials()
    assert [trial.sweep for trial in trials] == [None, 1.0, 0.7, 1.3]
    assert all(trial.outcome is not None and trial.outcome.trained for trial in trials)
    loads = {trial.sweep: trial.outcome.load for trial in trials if trial.outcome}
    for point in (1.0, 0.7, 1.3):
        assert loads[point] == pytest.approx(point * TARGET, abs=0.05)
    best = swept.best()
    assert best is not None and best.outcome is not None and best.outcome.fast_enough


def test_the_winner_keeps_a_share_of_the_time() -> None:
    late = Clock(time.monotonic() - 100, 100)
    assert late.winner_deadline(50) == pytest.approx(time.monotonic() + 10, abs=1)
    early = clock(100)
    assert early.winner_deadline(30) == pytest.approx(early.at(0.7), abs=0.1)


def test_a_trial_that_just_missed_the_budget_is_tried_sparser(
    study: Study, evaluator: InstantEvaluator
) -> None:
    # The prior says 2 ms + 8 ms x live; this machine needs half a millisecond more.
    evaluator.extra_ms = 0.5
    run_trials(study, evaluator, DENSE_LOAD, clock(3600), Silent())
    first, second = study.trials()[:2]
    assert first.outcome is not None and not first.outcome.fast_enough
    assert second.choices.shape == first.choices.shape
    assert second.outcome is not None and second.outcome.fast_enough
    assert second.outcome.live < first.outcome.live
