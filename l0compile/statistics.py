"""Bootstrap interval of a median.

Percentile bootstrap (Efron 1979) over blocks, not calls: calls of one block share the machine's state of that
moment, so treating them as independent would give intervals far too narrow.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from l0compile.errors import ConfigError

TAIL = 2.5  # percent on each side of a 95 % interval


def bootstrap_interval(values: Sequence[float], resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the median of ``values`` (any unit), by resampling them with replacement.

    Raises ``ConfigError`` when ``values`` is empty.
    """
    if not len(values):
        raise ConfigError("bootstrap: expected at least one value, got none")
    low, high = np.percentile(
        resampled_medians(np.asarray(values, float), resamples, seed), (TAIL, 100 - TAIL)
    )
    return float(low), float(high)


def resampled_medians(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """[resamples] medians of as many samples of ``values`` drawn with replacement."""
    picks = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    medians: NDArray[np.float64] = np.median(values[picks], axis=1)
    return medians
