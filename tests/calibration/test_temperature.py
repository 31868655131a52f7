"""The temperature is the best one, keeps predictions, and stays in its bounds where there is no best one."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from l0compile.calibration import accuracy, ece, fit_temperature, nll
from l0compile.calibration.temperature import BOUNDS
from l0compile.errors import ConfigError, DataError
from tests.calibration.drawn_examples import Examples, examples, too_sure


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("classes", [2, 7])
def test_it_undoes_a_factor(classes: int, factor: float) -> None:
    logits, labels = too_sure(4000, classes, factor=factor)
    found = fit_temperature(logits, labels)
    assert found.value == pytest.approx(factor, rel=0.08) and not found.at_bound
    assert found.nll_before == pytest.approx(nll(logits, labels))
    assert found.nll_after == pytest.approx(nll(found.apply(logits), labels))
    fresh, truth = too_sure(4000, classes, seed=1, factor=factor)
    assert ece(found.apply(fresh), truth) < 0.03


@given(examples())
def test_no_other_temperature_is_better(found: Examples) -> None:
    logits, labels = found
    best = fit_temperature(logits, labels)
    low, high = BOUNDS
    assert low <= best.value <= high and best.nll_after <= best.nll_before + 1e-9

    def loss(log_inverse: float) -> float:
        return nll(logits.double() * math.exp(log_inverse), labels)

    other = minimize_scalar(loss, bounds=(-math.log(high), -math.log(low)), method="bounded")
    assert best.nll_after <= other.fun + 1e-7 * max(1.0, other.fun)
    assert best.at_bound == (best.value in BOUNDS)


@given(examples(), st.floats(0.01, 100.0))
def test_predictions_stay(found: Examples, value: float) -> None:
    logits, labels = found
    fitted = fit_temperature(logits, labels)
    for one in (fitted, type(fitted)(value, 0.0, 0.0, False)):
        scaled = one.apply(logits)
        assert scaled.dtype == torch.float64
        assert scaled.argmax(1).tolist() == logits.argmax(1).tolist()
        assert accuracy(scaled, labels) == accuracy(logits, labels)


def test_neighbours_in_float32_stay_apart() -> None:
    logits = torch.tensor([[1.75, 1.75 + 2**-23]])
    assert (logits / 1.7)[0].unique().numel() == 1, "in float32 they become equal, and class 0 is predicted"
    assert type(fit_temperature(logits, torch.tensor([1])))(1.7, 0.0, 0.0, False).apply(logits).argmax() == 1


def test_separable_data_end_at_the_lower_bound() -> None:
    logits, labels = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.5, 0.0]]), torch.tensor([0, 1, 0])
    found = fit_temperature(logits, labels)
    assert (found.value, found.at_bound) == (BOUNDS[0], True) and found.nll_after < 1e-20
    assert fit_temperature(logits, labels, (0.5, 2.0)).value == 0.5
    assert fit_temperature(logits, labels, (1.0, 2.0)).at_bound
    # All is certain already: nothing is gained by more.
    certain = fit_temperature(1e4 * logits, labels)
    assert (certain.value, certain.at_bound) == (1.0, False)


def test_a_model_worse_than_chance_ends_at_the_upper_bound() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    found = fit_temperature(logits, torch.tensor([1, 0]))
    assert (found.value, found.at_bound) == (BOUNDS[1], True)


def test_logits_that_say_nothing_keep_their_temperature() -> None:
    found = fit_temperature(torch.full((4, 3), 7.0), torch.tensor([0, 1, 2, 2]))
    assert (found.value, found.at_bound) == (1.0, False)
    assert found.nll_before == found.nll_after == pytest.approx(math.log(3))


@pytest.mark.parametrize("bounds", [(0.0, 10.0), (2.0, 10.0), (0.1, 0.5), (0.1, math.inf), (math.nan, 2.0)])
def test_bounds_are_around_one(bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="0 < low <= 1 <= high"):
        fit_temperature(*too_sure(10, 2), bounds)


def test_what_is_not_finite_is_not_scaled() -> None:
    found = fit_temperature(*too_sure(50, 2))
    with pytest.raises(DataError, match="NaN or infinity in 1 of 1 rows"):
        found.apply(torch.tensor([[math.nan, 0.0]]))
