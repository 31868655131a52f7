"""Logits and labels, checked once, and what every measure reads from them.

Everything is float64 and computed from logits less the largest of their row, so that logits of ±10,000 neither overflow
nor lose what little probability is left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l0compile.errors import ConfigError, DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Statistic = Callable[[Floats], Floats]
"""How often each example counts in each of R resamples [R, N] -> the measure of each resample [R]."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says of N examples, and their labels.

    shifted: logits less the largest of their row, float64 [N, classes]. labels: int64 [N].
    """

    shifted: Floats
    labels: Integers

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "Predictions":
        """Check ``logits`` [N, classes] and ``labels`` [N].

        Raises:
            DataError: they are empty, of other shapes or types, not finite, or a label is no class.
        """
        found = checked_logits(logits, "logits")
        whole = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.dtype == torch.bool)
        if not whole or labels.shape != found.shape[:1]:
            raise DataError(
                f"calibration: expected labels int64 [{len(found)}], one for each row of logits, got {_kind(labels)}"
            )
        known = labels.detach().cpu().long().numpy()
        low, high, classes = int(known.min()), int(known.max()), found.shape[1]
        if low < 0 or high >= classes:
            raise DataError(
                f"calibration: expected labels in 0..{classes - 1}, since logits have {classes} classes, got"
                f" {low}..{high}; leave out examples without a label"
            )
        return cls(found - found.max(axis=1, keepdims=True), known)

    @property
    def examples(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.shifted.shape[1]

    @cached_property
    def log_probabilities(self) -> Floats:
        """Logarithm of the softmax [N, classes]."""
        found: Floats = self.shifted - np.log(np.exp(self.shifted).sum(axis=1, keepdims=True))
        return found

    @cached_property
    def probabilities(self) -> Floats:
        """The softmax [N, classes]."""
        return np.exp(self.log_probabilities)

    @cached_property
    def predicted(self) -> Integers:
        """The class of the largest logit, the first of equals [N]."""
        return self.shifted.argmax(axis=1)

    @cached_property
    def correct(self) -> Floats:
        """1 where the prediction is the label, else 0 [N]."""
        return (self.predicted == self.labels).astype(np.float64)

    @cached_property
    def confidence(self) -> Floats:
        """The probability of the predicted class [N]."""
        found: Floats = self.probabilities[np.arange(self.examples), self.predicted]
        return found

    @cached_property
    def log_odds(self) -> Floats:
        """Logarithm of p / (1 - p) of each class [N, classes].

        It ranks as p does, but still tells apart what rounds to a probability of 1.
        """
        rows, best = np.arange(self.examples), self.predicted
        # What is left for the others may be too small for exp: shift them by the largest of them.
        rest = self.shifted.copy()
        rest[rows, best] = -np.inf
        second = rest.max(axis=1)
        remainder = second + np.log(np.exp(rest - second[:, None]).sum(axis=1))
        probabilities = self.probabilities.copy()
        probabilities[rows, best] = 0.0
        found: Floats = self.log_probabilities - np.log1p(-probabilities)
        # The logit of the best class is 0 after the shift, and log(p / (1 - p)) = 0 - remainder.
        found[rows, best] = -remainder
        return found

    def value(self, statistic: Statistic) -> float:
        """Return the measure of these examples, each counted once."""
        return float(statistic(np.ones((1, self.examples)))[0])


def checked_logits(logits: Tensor, name: str) -> Floats:
    """Return logits [N >= 1, classes >= 2] as float64.

    Raises:
        DataError: they are empty, of another shape or type, or not finite.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point():
        raise DataError(f"calibration: expected {name} as a float tensor [N, classes], got {_kind(logits)}")
    if not len(logits) or logits.shape[1] < 2:
        raise DataError(
            f"calibration: expected {name} of at least one example and two classes, got {list(logits.shape)}; give a"
            " model with one output z a second column: stack((zeros_like(z), z), 1)"
        )
    found: Floats = logits.detach().cpu().double().numpy()
    wrong = ~np.isfinite(found).all(axis=1)
    if wrong.any():
        raise DataError(
            f"calibration: expected finite {name}, got NaN or infinity in {int(wrong.sum())} of {len(found)} rows, the"
            f" first of them row {int(wrong.argmax())}; look at what the model computes there"
        )
    return found


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def checked_count(count: int, what: str) -> int:
    """Return ``count`` if it is an integer of at least 1.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"calibration: expected {what} as an integer of at least 1, got {count!r}")
    return count
