"""How far chance in training moves a figure: the spread over seeds."""

from collections.abc import Sequence

import numpy as np

from l0compile.calibration.bootstrap import Interval
from l0compile.errors import DataError


def over_seeds(values: Sequence[float]) -> Interval:
    """Return the mean of a figure over trainings with different seeds, and its 95 % interval (Student's t).

    For a claim about two models give the differences, seed by seed: what both owe to a seed then cancels. A bootstrap
    over so few values would give intervals that are too narrow.

    Args:
        values: one for each seed, at least 2, in any unit.

    Raises:
        DataError: there are fewer than 2 values, or one is not finite.
    """
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all():
        raise DataError(f"calibration: expected finite values of at least 2 seeds, got {list(values)}")
    from scipy.stats import t  # takes a second to import

    mean = float(found.mean())
    reach = float(t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return Interval(mean, mean - reach, mean + reach)
