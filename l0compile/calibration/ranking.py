"""Whether confidence tells right from wrong: AUROC, risk and coverage.

Examples are ranked by log odds, log(p / (1 - p)): the same order as by probability, but confidences that round to 1
keep theirs. Ties are resolved by expectation over all orders of the tied examples, so the order that examples come in
makes no difference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l0compile.calibration.groups import cumulative, tied
from l0compile.calibration.predictions import Floats, Integers, Predictions, Statistic, checked_count
from l0compile.errors import DataError


@dataclass(frozen=True)
class RiskCoverage:
    """The error among the most confident examples.

    Attributes:
        coverage: shares of the examples that are answered, the most confident ones, ascending in (0, 1].
        risk: the share of wrong predictions among them, in [0, 1].
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]


def auroc(logits: Tensor, labels: Tensor) -> float:
    """Return the area under the ROC curve in [0, 1]: how often a positive example ranks above a negative one.

    A tie counts as half (Mann and Whitney 1947). Of two classes, class 1 is positive. Of more it is the mean over
    classes of one against the rest; a class that is no example's label has no ROC curve and is left out.

    Args:
        logits: float [N, classes].
        labels: int64 [N].

    Raises:
        DataError: logits or labels are malformed, or all labels are the same.
    """
    found = Predictions.of(logits, labels)
    if (found.labels == found.labels[0]).all():
        raise DataError(
            f"calibration: expected labels of at least two classes for AUROC, got {found.labels[0]} only"
        )
    return found.value(auroc_of(found))


def aurc(logits: Tensor, labels: Tensor) -> float:
    """Return the area under the risk-coverage curve in [0, 1]: the mean of the risk at coverages 1/N, 2/N, ..., 1.

    Geifman, Uziel and El-Yaniv 2019 (arXiv 1805.08206, section 2). Lower is better; it is the error rate if confidence
    says nothing.

    Args:
        logits: float [N, classes].
        labels: int64 [N].

    Raises:
        DataError: logits or labels are malformed.
    """
    found = Predictions.of(logits, labels)
    return found.value(aurc_of(found))


def risk_coverage(logits: Tensor, labels: Tensor, points: int | None = None) -> RiskCoverage:
    """Return the risk-coverage curve (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017, arXiv 1705.08500).

    Args:
        logits: float [N, classes].
        labels: int64 [N].
        points: at how many even coverages; N, each example, by default.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: ``points`` is no positive integer.
    """
    return risk_coverage_of(Predictions.of(logits, labels), points)


def risk_coverage_of(found: Predictions, points: int | None = None) -> RiskCoverage:
    """Return the curve of ``found``."""
    count = found.examples if points is None else checked_count(points, "points")
    order, ends = _most_confident_first(found)
    wrong = 1.0 - found.correct[order, None]
    mass, errors = np.append(0, ends), cumulative(wrong, ends)[:, 0]
    share = np.arange(1, count + 1) / count
    risk = np.interp(share * found.examples, mass, errors) / (share * found.examples)
    return RiskCoverage(tuple(share.tolist()), tuple(risk.tolist()))


def auroc_of(found: Predictions) -> Statistic:
    """Return `auroc` of resamples; NaN for those whose labels are all the same."""
    positives = [1] if found.classes == 2 else range(found.classes)
    areas = [_area_of(found.log_odds[:, k], found.labels == k) for k in positives]

    def statistic(weights: Floats) -> Floats:
        each = np.stack([area(weights) for area in areas])
        defined = ~np.isnan(each)
        count = defined.sum(axis=0)
        total = np.where(defined, each, 0.0).sum(axis=0)
        mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return mean

    return statistic


def aurc_of(found: Predictions) -> Statistic:
    """Return `aurc` of resamples; the weights must be whole numbers."""
    order, ends = _most_confident_first(found)
    wrong = 1.0 - found.correct[order, None]

    def statistic(weights: Floats) -> Floats:
        sorted_weights = weights[order]
        mass, errors = cumulative(sorted_weights, ends), cumulative(wrong * sorted_weights, ends)
        count, wrongs = np.diff(mass, axis=0), np.diff(errors, axis=0)
        rate = wrongs / np.maximum(count, 1.0)
        # Sum over k in (n, n + count] of (errors before + (k - n) rate) / k.
        harmonic = np.append(0.0, np.cumsum(1.0 / np.arange(1, mass[-1].max() + 1)))
        at = harmonic[mass.astype(np.int64)]
        sums = wrongs + (errors[:-1] - mass[:-1] * rate) * np.diff(at, axis=0)
        area: Floats = sums.sum(axis=0) / mass[-1]
        return area

    return statistic


def _most_confident_first(found: Predictions) -> tuple[Integers, Integers]:
    return tied(-found.log_odds[np.arange(found.examples), found.predicted])


def _area_of(scores: Floats, positive: NDArray[np.bool_]) -> Statistic:
    order, ends = tied(scores)
    is_positive = positive[order, None].astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        sorted_weights = weights[order]
        above = cumulative(is_positive * sorted_weights, ends)
        below = cumulative(sorted_weights, ends) - above
        wins = (np.diff(above, axis=0) * (below[1:] + below[:-1])).sum(axis=0) / 2.0
        pairs = above[-1] * below[-1]
        area: Floats = np.where(pairs > 0, wins / np.maximum(pairs, 1.0), np.nan)
        return area

    return statistic
