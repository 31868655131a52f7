"""Temperature scaling: one number, fitted on validation data, that makes a classifier less (or more) sure of itself."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from l0compile.calibration.predictions import Floats, Integers, Predictions, checked_logits
from l0compile.errors import ConfigError

BOUNDS = (0.01, 100.0)
_STEPS = 200
_PRECISION = 1e-12


@dataclass(frozen=True)
class Temperature:
    """The T of softmax(logits / T).

    Attributes:
        value: T; above 1 where the model was too sure of itself.
        nll_before: mean negative log likelihood of the data that T was fitted on, at T = 1, in nats.
        nll_after: the same at T.
        at_bound: whether T is one of the bounds: a better one lies beyond. That is so where every prediction is right
            (any smaller T is better), or where the model is no better than chance (any larger one is).
    """

    value: float
    nll_before: float
    nll_after: float
    at_bound: bool

    def apply(self, logits: Tensor) -> Tensor:
        """Return ``logits`` [N, classes] over T, as float64.

        Predictions stay the same: in float32 two logits that differ in their last bit could become equal.

        Raises:
            DataError: logits are malformed or not finite.
        """
        checked_logits(logits, "logits")
        return logits.double() / self.value


def fit_temperature(logits: Tensor, labels: Tensor, bounds: tuple[float, float] = BOUNDS) -> Temperature:
    """Return the T that makes the labels most likely: Guo et al. 2017 (arXiv 1706.04599, section 4.2).

    The negative log likelihood is convex in 1/T. Its minimum is found in float64 by Newton's method, kept between the
    bounds by bisection.

    Args:
        logits: of validation data, float [N, classes]. On the data that are judged afterwards, T would be cheating.
        labels: int64 [N].
        bounds: least and largest T, around 1.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: the bounds are not 0 < low <= 1 <= high.
    """
    low, high = bounds
    if not (0.0 < low <= 1.0 <= high < np.inf):
        raise ConfigError(f"calibration: expected bounds of T as 0 < low <= 1 <= high, got {low} and {high}")
    found = Predictions.of(logits, labels)
    inverse, at_bound = _minimum(found.shifted, found.labels, 1.0 / high, 1.0 / low)
    # 1 / (1 / high) need not be high.
    value = (low if inverse >= 1.0 else high) if at_bound else 1.0 / inverse
    return Temperature(value, _nll(found, 1.0), _nll(found, 1.0 / value), at_bound)


def _minimum(logits: Floats, labels: Integers, low: float, high: float) -> tuple[float, bool]:
    """Return the 1/T in [low, high] where the slope of the likelihood changes its sign, and whether it is an end."""
    at = 1.0
    slope, curvature = _slope(logits, labels, at)
    if slope == 0.0:  # all logits of a row are equal, or all predictions are right and certain: any T will do
        return at, False
    end = low if slope > 0 else high
    # The slope grows with 1/T: if it has one sign up to the end (or vanishes in rounding there), the end is best.
    if at == end or _slope(logits, labels, end)[0] * slope >= 0:
        return end, True
    left, right, before = min(at, end), max(at, end), np.inf
    for _ in range(_STEPS):
        left, right = (at, right) if slope < 0 else (left, at)
        step = at - slope / curvature if curvature > 0 else np.inf
        # Where Newton would leave the bracket, or creeps, halve the bracket on the scale of factors.
        good = left < step < right and abs(slope) < before / 2
        new, before = float(step if good else np.sqrt(left * right)), abs(slope)
        if slope == 0.0 or abs(step - at) <= _PRECISION * at or right - left <= _PRECISION * at:
            break
        at = new
        slope, curvature = _slope(logits, labels, at)
    return at, False


def _slope(logits: Floats, labels: Integers, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log likelihood by 1/T."""
    scaled = inverse * logits
    probabilities = np.exp(scaled)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    mean = (probabilities * logits).sum(axis=1)
    variance = (probabilities * np.square(logits - mean[:, None])).sum(axis=1)
    return float((mean - logits[np.arange(len(labels)), labels]).mean()), float(variance.mean())


def _nll(found: Predictions, inverse: float) -> float:
    scaled = Predictions(found.shifted * inverse, found.labels)
    return float(-scaled.log_probabilities[np.arange(found.examples), found.labels].mean())
