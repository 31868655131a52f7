"""How many times faster one measurement is than another, with an interval."""

import numpy as np

from l0compile.errors import ConfigError
from l0compile.hardware.statistics import TAIL, Ratio, paired_ratio, resampled_medians
from l0compile.measurement.result import Measurement


def ratio(first: Measurement, second: Measurement, *, paired: bool = False) -> Ratio:
    """Return how many times faster ``second`` is than ``first``, with an interval.

    Args:
        first: the slower one, if the ratio is to be above 1.
        second: the other one.
        paired: take the ratio block by block, which cancels whatever slowed the whole machine for a while. Block i of
            both must have run side by side, as in ``measure_engines``.

    Raises:
        ConfigError: a measurement failed, or ``paired`` was asked for unequal numbers of blocks.
    """
    for name, measurement in (("first", first), ("second", second)):
        if measurement.error is not None or not measurement.block_ms:
            raise ConfigError(
                f"ratio: the {name} measurement has no samples: {measurement.error or 'it is empty'}"
            )
    protocol = first.protocol
    if paired:
        return paired_ratio(first.block_ms, second.block_ms, protocol.resamples, protocol.seed)
    a, b = np.asarray(first.block_ms), np.asarray(second.block_ms)
    draws = resampled_medians(a, protocol.resamples, protocol.seed)
    # Another seed: with the same one both would draw the same block numbers and so be falsely paired.
    draws = draws / resampled_medians(b, protocol.resamples, protocol.seed + 1)
    low, high = np.percentile(draws, (TAIL, 100 - TAIL))
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high))
