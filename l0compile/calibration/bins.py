"""Calibration errors: how far confidence is from accuracy, in bins of confidence.

Equal-width bin m of M holds confidences in ((m-1)/M, m/M], closed on the right as in Guo et al. 2017 (arXiv 1706.04599,
section 2); the first holds 0 too. scikit-learn's `calibration_curve` has the same bins. torchmetrics closes them on the
left, compares in float32, and puts confidences of exactly 1 into a bin of their own.

Equal-mass bins hold exactly N/M examples each, in order of confidence. An example on an edge counts in both bins with
its share, and examples of one confidence share alike, so the order that examples come in makes no difference.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from l0compile.calibration.groups import Groups, Ranking, running
from l0compile.calibration.predictions import (
    Floats,
    Integers,
    Predictions,
    Statistic,
    checked_count,
)

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """The examples whose confidence is in (low, high].

    Attributes:
        low, high: edges, in [0, 1].
        count: how many examples there are.
        confidence: their mean; None without examples.
        accuracy: the share of them that is right; None without examples.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability_bins(logits: Tensor, labels: Tensor, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Return what a reliability diagram shows, in equal-width bins (Guo et al. 2017, equation 2).

    Args:
        logits: float [N, classes].
        labels: int64 [N].
        bins: how many there are.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: ``bins`` is no positive integer.
    """
    return bins_of(Predictions.of(logits, labels), bins)


def ece(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error in [0, 1]: how far accuracy is from confidence in the bin of an example.

    The mean of that over examples, for the predicted class ("top label"), in equal-width bins: Guo et al. 2017,
    equation 3.

    Args:
        logits: float [N, classes].
        labels: int64 [N].
        bins: how many there are.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: ``bins`` is no positive integer.
    """
    found = Predictions.of(logits, labels)
    return found.value(ece_of(found, bins))


def mce(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Return the maximum calibration error in [0, 1]: the largest gap between accuracy and confidence of a bin.

    Guo et al. 2017, equation 5. A bin of one example can decide it; look at the counts.

    Args:
        logits: float [N, classes].
        labels: int64 [N].
        bins: how many equal-width bins there are.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: ``bins`` is no positive integer.
    """
    found = Predictions.of(logits, labels)
    return found.value(mce_of(found, bins))


def equal_mass_ece(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error in [0, 1] over bins of equally many examples.

    The top-label form of the adaptive calibration error of Nixon et al. 2019 (arXiv 1904.01685, section 3).

    Args:
        logits: float [N, classes].
        labels: int64 [N].
        bins: how many there are.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: ``bins`` is no positive integer.
    """
    found = Predictions.of(logits, labels)
    return found.value(equal_mass_ece_of(found, bins))


def classwise_ece(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Return the mean over classes of the calibration error of that class's probability, in [0, 1].

    For each class, examples are binned by its probability, which is compared with how often it is the label: Kull et
    al. 2019 (arXiv 1910.12656, equation 3). Of two classes it is the error of binary calibration.

    Args:
        logits: float [N, classes].
        labels: int64 [N].
        bins: how many equal-width bins there are.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: ``bins`` is no positive integer.
    """
    found = Predictions.of(logits, labels)
    return found.value(classwise_ece_of(found, bins))


def bin_index(confidence: Floats, bins: int) -> Integers:
    """Return the number of the equal-width bin of each confidence in [0, 1], from 0."""
    inner = np.linspace(0.0, 1.0, checked_count(bins, "bins") + 1)[1:-1]
    return np.searchsorted(inner, confidence, side="left")


def bins_of(found: Predictions, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Return the equal-width bins of ``found``."""
    index = bin_index(found.confidence, bins)
    counts = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, values, minlength=bins) for values in (found.confidence, found.correct)]
    edges = np.linspace(0.0, 1.0, bins + 1)
    return tuple(
        ReliabilityBin(
            float(edges[m]), float(edges[m + 1]), int(n), *(float(s[m] / n) if n else None for s in sums)
        )
        for m, n in enumerate(counts)
    )


def ece_of(found: Predictions, bins: int = BINS) -> Statistic:
    """Return `ece` of resamples."""
    groups, gap = Groups.of(bin_index(found.confidence, bins), bins), found.correct - found.confidence
    return lambda weights: np.abs(groups.sums(weights, gap)[0]).sum(axis=0) / weights.sum(axis=1)


def mce_of(found: Predictions, bins: int = BINS) -> Statistic:
    """Return `mce` of resamples."""
    groups, gap = Groups.of(bin_index(found.confidence, bins), bins), found.correct - found.confidence

    def statistic(weights: Floats) -> Floats:
        gaps, counts = groups.sums(weights, gap, np.ones_like(gap))
        largest: Floats = (np.abs(gaps) / np.maximum(counts, 1.0)).max(axis=0)
        return largest

    return statistic


def classwise_ece_of(found: Predictions, bins: int = BINS) -> Statistic:
    """Return `classwise_ece` of resamples."""
    each = [
        (Groups.of(bin_index(p, bins), bins), (found.labels == k) - p)
        for k, p in enumerate(found.probabilities.T)
    ]

    def statistic(weights: Floats) -> Floats:
        total = sum(np.abs(groups.sums(weights, gap)[0]).sum(axis=0) for groups, gap in each)
        mean: Floats = total / (len(each) * weights.sum(axis=1))
        return mean

    return statistic


def equal_mass_ece_of(found: Predictions, bins: int = BINS) -> Statistic:
    """Return `equal_mass_ece` of resamples."""
    shares = np.linspace(0.0, 1.0, checked_count(bins, "bins") + 1)
    ranking = Ranking.of(found.confidence)
    edges, gap = ranking.edges(), (found.correct - found.confidence)[ranking.order]
    inside = edges if len(edges) <= found.examples else slice(None)  # without ties, all of them

    def statistic(weights: Floats) -> Floats:
        taken = weights.take(ranking.order, axis=1)
        mass, gaps = (running(values)[:, inside] for values in (taken, gap * taken))
        # Between two edges the sum grows evenly: that is what sharing alike means.
        at = [np.interp(shares * m[-1], m, g) for m, g in zip(mass, gaps, strict=True)]
        error: Floats = np.abs(np.diff(at, axis=1)).sum(axis=1) / mass[:, -1]
        return error

    return statistic
