"""Intervals of medians, and of how many times faster one thing ran than another.

Percentile bootstrap (Efron 1979) over blocks, not calls: calls of one block share the machine's state of that
moment, so treating them as independent would give intervals far too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l0compile.errors import ConfigError

TAIL = 2.5  # percent on each side of a 95 % interval


@dataclass(frozen=True)
class Ratio:
    """``value`` = time of the first over time of the second, with its 95 % interval.

    Above 1 the second is faster by that factor.
    """

    value: float
    low: float
    high: float

    def verdict(self, tolerance: float = 0.02) -> str:
        """ "faster" or "slower" (the second, against the first) when the interval excludes 1 by more than
        ``tolerance``, else "same" when it lies within the tolerance, else "unclear"."""
        if self.low > 1 + tolerance:
            return "faster"
        if self.high < 1 - tolerance:
            return "slower"
        return "same" if self.low >= 1 - tolerance and self.high <= 1 + tolerance else "unclear"


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


def paired_ratio(
    first: Sequence[float], second: Sequence[float], resamples: int = 2000, seed: int = 0
) -> Ratio:
    """The median of first[i] / second[i], times above 0 taken next to each other, with its interval.

    Raises ``ConfigError`` for unequal numbers of values.
    """
    if len(first) != len(second):
        raise ConfigError(f"ratio: paired needs equal numbers of blocks, got {len(first)} and {len(second)}")
    logs = np.log(np.asarray(first, float) / np.asarray(second, float))
    low, high = bootstrap_interval(logs.tolist(), resamples, seed)
    return Ratio(float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high)))


def resampled_medians(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """[resamples] medians of as many samples of ``values`` drawn with replacement."""
    picks = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    medians: NDArray[np.float64] = np.median(values[picks], axis=1)
    return medians
