"""How far chance moves each measure: percentile bootstrap over examples (Efron 1979).

All measures of all models that are compared see the same resamples, so a difference between two models has an interval
of its own, narrower than those of the models suggest.

A calibration error is a sum of absolute values, so noise only adds to it, in each resample once more: its interval lies
too high, and for a nearly calibrated model even above the value itself. Compare with `ece_noise`, the error that chance
alone gives. In differences of two models most of that cancels.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from l0compile.calibration.bins import (
    classwise_ece_of,
    ece_of,
    equal_mass_ece_of,
    mce_of,
)
from l0compile.calibration.predictions import (
    Floats,
    Predictions,
    Statistic,
    checked_count,
)
from l0compile.calibration.ranking import aurc_of, auroc_of
from l0compile.calibration.scores import accuracy_of, brier_of, macro_f1_of, nll_of
from l0compile.errors import ConfigError, DataError

StatisticKey = TypeVar("StatisticKey", bound=Hashable)

MEASURES = {
    "accuracy": accuracy_of, "macro_f1": macro_f1_of, "auroc": auroc_of, "nll": nll_of, "brier": brier_of,
    "ece": ece_of, "equal_mass_ece": equal_mass_ece_of, "classwise_ece": classwise_ece_of, "mce": mce_of,
    "aurc": aurc_of,
}  # fmt: skip
"""Name of a measure -> its form for resamples; bins are 15 where there are bins."""

RESAMPLES = 1000
_TOGETHER = 64  # resamples at once
_NUMBERS = 1 << 18  # in the weights that are held at once: more do not fit the caches


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, samples: Floats) -> "Interval | None":
        """Return the percentile interval of ``samples`` [R]; None if ``value`` is undefined, as AUROC of one class is.

        Resamples in which the measure is undefined are left out.
        """
        defined = samples[~np.isnan(samples)]
        if np.isnan(value) or not len(defined):
            return None
        low, high = np.percentile(defined, (2.5, 97.5))
        return cls(value, float(low), float(high))


def bootstrap(
    logits: Tensor,
    labels: Tensor,
    measures: Sequence[str] = tuple(MEASURES),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return the 95 % interval of each measure.

    Args:
        logits: float [N, classes].
        labels: int64 [N].
        measures: names, of `MEASURES`.
        resamples: how often N examples are drawn with replacement.
        seed: of the draws; the same seed and N give the same resamples.

    Returns:
        An interval by name; None for a measure that is undefined, as AUROC of one class is.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: a measure is unknown, or ``resamples`` is no positive integer.
    """
    found = Predictions.of(logits, labels)
    statistics = {name: MEASURES[name](found) for name in known(measures)}
    samples = resampled(statistics, found.examples, resamples, seed)
    return {name: Interval.of(found.value(one), samples[name]) for name, one in statistics.items()}


def paired_differences(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    measures: Sequence[str] = tuple(MEASURES),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return the 95 % interval of each measure of the first model less that of the second, on the same resamples.

    Args:
        first: logits of one model, float [N, classes].
        second: logits of another on the same examples, float [N, classes].
        labels: int64 [N].
        measures: names, of `MEASURES`.
        resamples: how often N examples are drawn with replacement.
        seed: of the draws.

    Returns:
        An interval by name: 0 lies outside if chance in the choice of test examples does not explain the difference.
        Chance in training is not in it; for that, train several seeds.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: a measure is unknown, or ``resamples`` is no positive integer.
    """
    models = [Predictions.of(logits, labels) for logits in (first, second)]
    names = known(measures)
    if models[0].classes != models[1].classes:
        raise DataError(
            f"calibration: expected two models with the same classes, got {models[0].classes} and {models[1].classes}"
        )
    statistics = {(at, name): MEASURES[name](model) for at, model in enumerate(models) for name in names}
    samples = resampled(statistics, models[0].examples, resamples, seed)
    values = {(at, name): models[at].value(one) for (at, name), one in statistics.items()}
    return {
        name: Interval.of(values[0, name] - values[1, name], samples[0, name] - samples[1, name])
        for name in names
    }


def known(measures: Sequence[str]) -> Sequence[str]:
    """Return ``measures`` if all of them are known.

    Raises:
        ConfigError: one of them is not.
    """
    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise ConfigError(
            f"calibration: expected measures of {', '.join(MEASURES)}, got {', '.join(map(repr, unknown))}"
        )
    return measures


def resampled(
    statistics: Mapping[StatisticKey, Statistic], examples: int, resamples: int, seed: int
) -> dict[StatisticKey, Floats]:
    """Return each statistic of the same resamples of ``examples`` examples [resamples]."""
    rng = np.random.default_rng(seed)
    found: dict[StatisticKey, list[Floats]] = {key: [] for key in statistics}
    for count in batches(examples, resamples):
        # Number of example and resample in one: counting them gives how often each example was drawn in each.
        drawn = rng.integers(0, examples, (count, examples)) + examples * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * examples).reshape(count, examples)
        counted = weights.astype(np.float64)
        for key, statistic in statistics.items():
            found[key].append(statistic(counted))
    return {key: np.concatenate(parts) for key, parts in found.items()}


def batches(examples: int, resamples: int) -> list[int]:
    """Return how many resamples to take at once: a list of numbers that add up to ``resamples``."""
    size = max(1, min(_TOGETHER, _NUMBERS // examples))
    whole, rest = divmod(checked_count(resamples, "resamples"), size)
    return [size] * whole + ([rest] if rest else [])
