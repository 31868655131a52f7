"""Whether confidence tells right from wrong: AUROC, risk and coverage.

Examples are ranked by log odds, log(p / (1 - p)): the same order as by probability, but confidences that round to 1
keep theirs. Ties are resolved by expectation over all orders of the tied examples, so the order that examples come in
makes no difference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l0compile.calibration.groups import Ranking, running
from l0compile.calibration.predictions import Floats, Predictions, Statistic, checked_count
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
    ranking = _most_confident_first(found)
    edges, wrong = ranking.edges(), 1.0 - found.correct[ranking.order]
    share = np.arange(1, count + 1) / count
    wrongs = np.interp(share * found.examples, edges, running(wrong[None])[0, edges])
    return RiskCoverage(tuple(share.tolist()), tuple((wrongs / (share * found.examples)).tolist()))


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
    """Return `aurc` of resamples; the weights must be whole numbers.

    A wrong prediction at place j counts at each coverage k >= j with 1/k: with H(N) - H(j - 1), H the harmonic numbers.
    In a run of ties it has the mean of that over the places of the run.
    """
    ranking = _most_confident_first(found)
    wrong = np.flatnonzero(found.correct[ranking.order] == 0.0)
    start, end = ranking.start[wrong], ranking.end[wrong]

    def statistic(weights: Floats) -> Floats:
        taken = weights.take(ranking.order, axis=1)
        places = running(taken).astype(np.int64)
        total = places[:, -1]
        harmonic = running(1.0 / np.arange(1, total.max() + 1)[None])[0]
        sums = running(harmonic[None])[0]  # of H(j - 1) over the places j up to each
        first, last = places[:, start], places[:, end]
        mean = (sums[last] - sums[first]) / np.maximum(last - first, 1)
        area: Floats = (taken[:, wrong] * (harmonic[total][:, None] - mean)).sum(axis=1) / total
        return area

    return statistic


def _most_confident_first(found: Predictions) -> Ranking:
    return Ranking.of(-found.log_odds[np.arange(found.examples), found.predicted])


def _area_of(scores: Floats, positive: NDArray[np.bool_]) -> Statistic:
    ranking = Ranking.of(scores)
    ranked = positive[ranking.order]
    at, negative = np.flatnonzero(ranked), (~ranked).astype(np.float64)
    start, end = ranking.start[at], ranking.end[at]

    def statistic(weights: Floats) -> Floats:
        taken = weights.take(ranking.order, axis=1)
        below = running(negative * taken)
        # A positive example wins against the negative ones below it, and half against those that it ties with.
        mine = taken[:, at]
        wins = (mine * (below[:, start] + below[:, end])).sum(axis=1) / 2.0
        pairs = mine.sum(axis=1) * below[:, -1]
        area: Floats = np.where(pairs > 0, wins / np.maximum(pairs, 1.0), np.nan)
        return area

    return statistic
