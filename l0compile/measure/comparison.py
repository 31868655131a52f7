"""How many times faster one measurement is than another, with an interval."""

from dataclasses import dataclass

import numpy as np

from l0compile.errors import ConfigError
from l0compile.measure.result import Measurement
from l0compile.measure.statistics import TAIL, resampled_medians


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


def ratio(first: Measurement, second: Measurement, *, paired: bool = False) -> Ratio:
    """How many times faster ``second`` is than ``first``: ratio of medians over blocks, with interval.

    ``paired``: block i of both ran next to each other in time (``measure_engines``), so the ratio is taken
    block by block and whatever slowed the whole machine for a while cancels out.
    Raises ``ConfigError`` when one of them failed, or when pairing is asked for unequal numbers of blocks.
    """
    for name, measurement in (("first", first), ("second", second)):
        if measurement.error is not None or not measurement.block_ms:
            raise ConfigError(
                f"ratio: the {name} measurement has no samples: {measurement.error or 'it is empty'}"
            )
    a, b = np.asarray(first.block_ms), np.asarray(second.block_ms)
    protocol = first.protocol
    if paired:
        if len(a) != len(b):
            raise ConfigError(f"ratio: paired needs equal numbers of blocks, got {len(a)} and {len(b)}")
        logs = np.log(a / b)
        draws = np.exp(resampled_medians(logs, protocol.resamples, protocol.seed))
        value = float(np.exp(np.median(logs)))
    else:
        draws = resampled_medians(a, protocol.resamples, protocol.seed)
        # Another seed: with the same one both would draw the same block numbers and so be falsely paired.
        draws = draws / resampled_medians(b, protocol.resamples, protocol.seed + 1)
        value = float(np.median(a) / np.median(b))
    low, high = np.percentile(draws, (TAIL, 100 - TAIL))
    return Ratio(value, float(low), float(high))
