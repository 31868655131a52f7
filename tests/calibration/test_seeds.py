"""Intervals over few seeds cover the truth as often as they say."""

import math

import numpy as np
import pytest

from l0compile.calibration import Interval, over_seeds
from l0compile.errors import DataError


def test_by_hand() -> None:
    # Student's t of one degree of freedom at 97.5 % is 12.706.
    found = over_seeds([1.0, 3.0])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert over_seeds([0.5] * 3) == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize("seeds", [3, 5])
def test_it_covers(seeds: int) -> None:
    rng, runs = np.random.default_rng(0), 2000
    found = [over_seeds(rng.normal(1.0, 0.1, seeds).tolist()) for _ in range(runs)]
    assert sum(one.low <= 1.0 <= one.high for one in found) / runs == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan]])
def test_one_seed_has_no_spread(values: list[float]) -> None:
    with pytest.raises(DataError, match="at least 2 seeds, got"):
        over_seeds(values)
