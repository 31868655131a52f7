"""An evaluator of the tiny space, and a fitter whose latency is a formula."""

from pathlib import Path

import pytest
from instant import FormulaFitter, make_evaluator, make_fitter

from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.space.space import Space


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("explore"))


@pytest.fixture
def fitter(evaluator: Evaluator, tmp_path: Path) -> FormulaFitter:
    return make_fitter(evaluator, tmp_path, 0.7)
