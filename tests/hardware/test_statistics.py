"""The bootstrap interval of a median."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from l0compile.errors import ConfigError
from l0compile.measurement import bootstrap_interval

times = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30)


@given(times)
def test_interval_holds_the_median_and_stays_in_range(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    assert min(values) <= low <= high <= max(values)
    if len(values) >= 4:
        assert low <= np.median(values) <= high


@given(times, st.floats(0.1, 10.0))
def test_interval_scales_with_the_unit(values: list[float], factor: float) -> None:
    scaled = bootstrap_interval([factor * value for value in values])
    assert scaled == pytest.approx([factor * bound for bound in bootstrap_interval(values)], rel=1e-9)


@given(times, st.integers(0, 100))
def test_the_seed_decides(values: list[float], seed: int) -> None:
    assert bootstrap_interval(values, 100, seed) == bootstrap_interval(values, 100, seed)


@given(st.floats(1e-3, 1e3), st.integers(1, 20))
def test_equal_values_have_no_width(value: float, count: int) -> None:
    assert bootstrap_interval([value] * count) == (value, value)


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).lognormal(0, 0.1, 40)
    theirs = bootstrap(
        (values,), np.median, method="percentile", n_resamples=20000, rng=1
    ).confidence_interval
    assert bootstrap_interval(values, 20000) == pytest.approx([theirs.low, theirs.high], rel=0.01)


def test_covers_the_true_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(10, 1, 20), 400, seed) for seed in range(300)]
    covered = np.mean([low <= 10 <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.99


def test_nothing_to_resample() -> None:
    with pytest.raises(ConfigError, match="at least one value"):
        bootstrap_interval([])
