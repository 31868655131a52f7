"""As quick as can be at a quality: where it begins, what is tried next, and what is chosen."""

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instant import FormulaFitter, make_evaluator, make_fitter

from l0compile.hardware.targets import load_target
from l0compile.pruning.prices import Prices
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.quality_target import Attempt, chosen, first_share, next_share, quickest_above
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import AIM
from l0compile.studies.space.space import QualityFloor, Space
from l0compile.studies.study.clock import Clock
from l0compile.studies.study.progress import Silent
from l0compile.studies.study.study import open_study

FLOOR = QualityFloor(0.1)


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("floor"))


@pytest.fixture
def fitter(evaluator: Evaluator, tmp_path: Path) -> FormulaFitter:
    return make_fitter(evaluator, tmp_path, 1.0)


def attempt(share: float, quality: float) -> Attempt:
    return Attempt(SimpleNamespace(finalist=SimpleNamespace(wanted=share)), quality)  # type: ignore[arg-type]


def test_the_least_quality_is_relative_to_the_dense_one() -> None:
    assert FLOOR.least(0.9) == pytest.approx(0.81)
    assert FLOOR.least(-2.0) == pytest.approx(-2.2)  # a loss with its sign turned


@given(st.floats(0.0, 0.3), st.floats(0.5, 1.0), st.floats(0.2, 0.9), st.floats(0.3, 3.0))
def test_a_few_budgets_come_close_to_the_one_sought(
    drop: float, dense: float, start: float, power: float
) -> None:
    """Quality falls with the budget, somehow: after some attempts the chosen one is good enough and hardly slower."""
    floor = QualityFloor(max(drop, 0.001))

    def quality(share: float) -> float:
        return dense * (1 - (1 - share) ** (1 + power))

    attempts = [attempt(start, quality(start))]
    for _ in range(30):
        share = next_share(attempts, floor, dense)
        if share is None:
            break
        assert 0.0 < share <= 1.0
        attempts.append(attempt(share, quality(share)))
    best = chosen(attempts, floor, dense, Silent())
    sought = 1 - max(floor.drop, 1e-9) ** (1 / (1 + power))
    assert best.quality >= floor.least(dense) - 1e-12
    assert best.share <= 1.07 * sought + 1e-6


def test_without_a_good_one_the_best_is_chosen_and_said_to_be_short() -> None:
    progress = Noted()
    found = chosen([attempt(0.5, 0.6), attempt(0.9, 0.7), attempt(0.8, 0.65)], FLOOR, 1.0, progress)
    assert found.share == 0.9 and "WARNING: no candidate kept a quality of 0.9000" in progress.notes[0]


def test_the_first_budget_is_where_pruning_alone_loses_more_than_allowed(fitter: FormulaFitter) -> None:
    shares = [first_share(fitter, QualityFloor(drop), Silent()) for drop in (0.02, 0.1, 0.4)]
    assert (
        fitter.formula(fitter.dense_ms) / fitter.budget.ms / AIM >= shares[0] >= shares[1] >= shares[2] > 0.0
    )
    assert shares[0] > shares[2]
    # Latencies of plans that were measured, and not what the prices of their layers say.
    assert set(shares) == {fitted.load / AIM for fitted in fitter.measured.values()}


def test_a_search_under_a_floor(evaluator: Evaluator, fitter: FormulaFitter, tmp_path: Path) -> None:
    space = dataclasses.replace(
        evaluator.space, effort=dataclasses.replace(evaluator.space.effort, trials=2), quality=FLOOR
    )
    study = open_study(space, tmp_path, resume=False, conditions="here")
    clock, progress = Clock(time.monotonic(), 3600.0), Noted()
    exploration = Exploration(study, evaluator, fitter, Prices(load_target("native"), None), clock, progress)
    exploration.wanted = first_share(fitter, FLOOR, progress)
    exploration.run_trials()
    exploration.run_finalists()
    begun = exploration.winner()
    assert begun is not None and begun.wanted == exploration.wanted
    found = quickest_above(exploration, begun, FLOOR, time.monotonic() + 6.0)
    task = evaluator.task
    dense, tried = task.quality(evaluator.origin, "validation"), [f.wanted for f in exploration.finalists]
    good = task.quality(found.model, "validation") >= FLOOR.least(dense)
    assert found.finalist.wanted in tried
    assert good or any("WARNING: no candidate kept" in note for note in progress.notes)
