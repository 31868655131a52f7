"""As fast as possible at a quality: where it begins, what is tried next, and what is chosen."""

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from driven import TRIALS, driven
from hypothesis import given
from hypothesis import strategies as st
from instant import FormulaFitter, make_evaluator, make_fitter

from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.explore.finalists import fit_finalists
from l0compile.studies.explore.share import choose_share, first_share
from l0compile.studies.finish.quality_target import Attempt, best_attempt, next_share, train_for_quality
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import AIM
from l0compile.studies.space.space import Space
from l0compile.studies.study.progress import Silent

TARGET = QualityTarget(0.1)


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("target"))


@pytest.fixture
def fitter(evaluator: Evaluator, tmp_path: Path) -> FormulaFitter:
    return make_fitter(evaluator, tmp_path, 1.0)


def attempt(share: float, quality: float) -> Attempt:
    return Attempt(SimpleNamespace(finalist=SimpleNamespace(wanted=share)), quality)  # type: ignore[arg-type]


def test_the_least_quality_is_relative_to_the_dense_one() -> None:
    assert TARGET.least(0.9) == pytest.approx(0.81)
    assert TARGET.least(-2.0) == pytest.approx(-2.2)  # a loss with its sign turned


@given(st.floats(0.0, 0.3), st.floats(0.5, 1.0), st.floats(0.2, 0.9), st.floats(0.3, 3.0))
def test_a_few_budgets_come_close_to_the_one_sought(
    drop: float, dense: float, start: float, power: float
) -> None:
    """Quality falls with the budget, somehow: after some attempts the chosen one is good enough and hardly slower."""
    target = QualityTarget(max(drop, 0.001))

    def quality(share: float) -> float:
        return dense * (1 - (1 - share) ** (1 + power))

    attempts = [attempt(start, quality(start))]
    for _ in range(30):
        share = next_share(attempts, target, dense)
        if share is None:
            break
        assert 0.0 < share <= 1.0
        attempts.append(attempt(share, quality(share)))
    best = best_attempt(attempts, target, dense, Silent())
    sought = 1 - max(target.drop, 1e-9) ** (1 / (1 + power))
    assert best.quality >= target.least(dense) - 1e-12
    assert best.share <= 1.07 * sought + 1e-6


def test_without_a_good_one_the_best_is_chosen_and_said_to_be_short() -> None:
    progress = Noted()
    found = best_attempt([attempt(0.5, 0.6), attempt(0.9, 0.7), attempt(0.8, 0.65)], TARGET, 1.0, progress)
    assert found.share == 0.9 and "WARNING: no candidate kept a quality of 0.9000" in progress.notes[0]


def test_the_first_budget_is_where_pruning_alone_loses_more_than_allowed(fitter: FormulaFitter) -> None:
    shares = [first_share(fitter, QualityTarget(drop), Silent()) for drop in (0.02, 0.1, 0.4)]
    assert (
        fitter.formula(fitter.dense_ms) / fitter.budget.ms / AIM >= shares[0] >= shares[1] >= shares[2] > 0.0
    )
    assert shares[0] > shares[2]
    # Latencies of plans that were measured, and not what the prices of their layers say.
    assert set(shares) == {fitted.load / AIM for fitted in fitter.measured.values()}


def test_a_search_under_a_target(evaluator: Evaluator, fitter: FormulaFitter, tmp_path: Path) -> None:
    effort, progress = dataclasses.replace(evaluator.space.effort, trials=2), Noted()
    search = driven(fitter, tmp_path, progress=progress, effort=effort, quality=TARGET)
    search.run(choose_share, *TRIALS, fit_finalists)
    begun = search.best
    assert begun.wanted == search.state.wanted == search.context.study.state.share
    state = train_for_quality(search.context, search.state, begun, TARGET, time.monotonic() + 6.0)
    assert state.winner is not None
    task, found = evaluator.task, state.winner
    dense, tried = task.quality(evaluator.origin, "validation"), [each.wanted for each in state.finalists]
    good = task.quality(found.model, "validation") >= TARGET.least(dense)
    assert found.finalist.wanted in tried
    assert good or any("WARNING: no candidate kept" in note for note in progress.notes)
