"""Proper scores, which reward honest probabilities (NLL, Brier), and how often the prediction is right."""

import numpy as np
from torch import Tensor

from l0compile.calibration.groups import Groups
from l0compile.calibration.predictions import Floats, Predictions, Statistic


def nll(logits: Tensor, labels: Tensor) -> float:
    """Return the mean negative log likelihood of the labels, in nats.

    It comes from logits, so nothing is clipped: `sklearn.metrics.log_loss` takes probabilities, and counts a wrong one
    of 1 as about 36 nats at most.

    Args:
        logits: float [N, classes].
        labels: int64 [N].

    Raises:
        DataError: logits or labels are malformed.
    """
    found = Predictions.of(logits, labels)
    return found.value(nll_of(found))


def brier(logits: Tensor, labels: Tensor) -> float:
    """Return Brier's score in [0, 2]: the mean over examples of the sum over *all* classes of (p - [is the label])².

    This is the definition of 1950, for any number of classes. For two classes it is twice the mean of (p₁ - y)²;
    `sklearn.metrics.brier_score_loss` halves it for two classes only.

    Args:
        logits: float [N, classes].
        labels: int64 [N].

    Raises:
        DataError: logits or labels are malformed.
    """
    found = Predictions.of(logits, labels)
    return found.value(brier_of(found))


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of right predictions in [0, 1]; of equal logits the first one is the prediction.

    Args:
        logits: float [N, classes].
        labels: int64 [N].

    Raises:
        DataError: logits or labels are malformed.
    """
    found = Predictions.of(logits, labels)
    return found.value(accuracy_of(found))


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Return the mean over classes of F1 = 2 tp / (2 tp + fp + fn), in [0, 1].

    A class that is neither a label nor a prediction is left out, as in `sklearn.metrics.f1_score`.

    Args:
        logits: float [N, classes].
        labels: int64 [N].

    Raises:
        DataError: logits or labels are malformed.
    """
    found = Predictions.of(logits, labels)
    return found.value(macro_f1_of(found))


def mean_of(values: Floats) -> Statistic:
    """Return the mean of ``values`` [N] of resamples."""
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def nll_of(found: Predictions) -> Statistic:
    """Return `nll` of resamples."""
    return mean_of(-found.log_probabilities[np.arange(found.examples), found.labels])


def brier_of(found: Predictions) -> Statistic:
    """Return `brier` of resamples."""
    difference = found.probabilities.copy()
    difference[np.arange(found.examples), found.labels] -= 1.0
    return mean_of(np.square(difference).sum(axis=1))


def accuracy_of(found: Predictions) -> Statistic:
    """Return `accuracy` of resamples."""
    return mean_of(found.correct)


def macro_f1_of(found: Predictions) -> Statistic:
    """Return `macro_f1` of resamples."""
    by_label, by_prediction = (Groups.of(index, found.classes) for index in (found.labels, found.predicted))
    once = np.ones(found.examples)

    def statistic(weights: Floats) -> Floats:
        actual, right = by_label.sums(weights, once, found.correct)
        both = actual + by_prediction.sums(weights, once)[0]
        f1 = 2.0 * right / np.maximum(both, 1.0)
        mean: Floats = f1.sum(axis=0) / (both > 0).sum(axis=0)
        return mean

    return statistic
