"""The calibration error that chance alone gives.

A finite sample of a perfectly calibrated model has an accuracy that differs from its confidence in every bin, so its
calibration error is above 0. A claim about calibration is worth no more than what lies above that.
"""

import numpy as np
import torch
from torch import Tensor

from l0compile.calibration.bins import BINS, bin_index
from l0compile.calibration.bootstrap import RESAMPLES, Interval, batches
from l0compile.calibration.groups import Groups
from l0compile.calibration.predictions import Predictions, checked_logits


def ece_noise(logits: Tensor, bins: int = BINS, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the calibration error that a perfectly calibrated model with these confidences would seem to have.

    Each label is drawn to be the predicted class with the probability that the model gives it (consistency resampling,
    Bröcker and Smith 2007). An `ece` within the interval is no evidence of miscalibration.

    Args:
        logits: float [N, classes].
        bins: how many equal-width bins there are.
        resamples: how often labels are drawn.
        seed: of the draws.

    Returns:
        Mean and 95 % range of `ece`.

    Raises:
        DataError: logits are malformed.
        ConfigError: ``bins`` or ``resamples`` is no positive integer.
    """
    checked_logits(logits, "logits")
    unlabelled = torch.zeros(len(logits), dtype=torch.int64)
    return ece_noise_of(Predictions.of(logits, unlabelled), bins, resamples, seed)


def ece_noise_of(found: Predictions, bins: int = BINS, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return `ece_noise` of ``found``, whose labels do not count."""
    rng, confidence = np.random.default_rng(seed), found.confidence
    groups, once = Groups.of(bin_index(found.confidence, bins), bins), np.ones(found.examples)
    errors = []
    for count in batches(found.examples, resamples):
        gap = (rng.random((count, found.examples)) < confidence) - confidence
        errors.append(np.abs(groups.sums(gap, once)[0]).sum(axis=0) / found.examples)
    samples = np.concatenate(errors)
    low, high = np.percentile(samples, (2.5, 97.5))
    return Interval(float(samples.mean()), float(low), float(high))
