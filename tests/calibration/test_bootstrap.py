"""A resample is what repeating its examples gives; intervals cover; differences are paired."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile import calibration
from l0compile.calibration import MEASURES, Interval, bootstrap, paired_differences
from l0compile.calibration.bootstrap import batches, resampled
from l0compile.calibration.predictions import Predictions
from l0compile.errors import ConfigError, DataError
from tests.calibration.drawn_examples import Examples, examples, too_sure


@settings(max_examples=60)
@given(examples(least=2, most=12), st.data())
def test_a_weight_is_a_number_of_copies(found: Examples, data: st.DataObject) -> None:
    logits, labels = found
    counts = st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels)).filter(any)
    weights = np.array([data.draw(counts) for _ in range(3)], float)
    one = Predictions.of(logits, labels)
    for name, measure in MEASURES.items():
        values = measure(one)(weights)
        assert values.shape == (3,)
        for value, row in zip(values, weights, strict=True):
            copies = torch.tensor(row).long()
            repeated = logits.repeat_interleave(copies, 0), labels.repeat_interleave(copies)
            if name == "auroc" and len(repeated[1].unique()) < 2:
                assert np.isnan(value)
            else:
                assert value == pytest.approx(getattr(calibration, name)(*repeated), abs=1e-9), name


def test_intervals_cover_the_truth() -> None:
    """Of 120 test sets the 95 % intervals of scores hold the value of a far larger one nearly that often."""
    names, runs = ("accuracy", "nll", "brier", "auroc"), 120
    truth = {name: getattr(calibration, name)(*too_sure(400_000, 2, seed=1)) for name in names}
    covered = dict.fromkeys(names, 0)
    for seed in range(runs):
        found = bootstrap(*too_sure(250, 2, seed=seed + 2), measures=names, resamples=200, seed=seed)
        for name in names:
            one = found[name]
            assert one is not None and one.low <= one.value <= one.high
            covered[name] += one.low <= truth[name] <= one.high
    assert all(0.87 <= count / runs <= 0.995 for count in covered.values()), covered


def test_the_interval_of_accuracy_is_that_of_a_share() -> None:
    logits, labels = too_sure(2000, 3)
    found = bootstrap(logits, labels, measures=["accuracy"], resamples=2000)["accuracy"]
    assert found is not None
    reach = 1.96 * np.sqrt(found.value * (1 - found.value) / 2000)
    assert (found.low, found.high) == pytest.approx(
        (found.value - reach, found.value + reach), abs=0.15 * reach
    )


def test_differences_are_paired() -> None:
    logits, labels = too_sure(1500, 3)
    other = logits + 0.05 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    alone = bootstrap(logits, labels, resamples=200)
    found = paired_differences(other, logits, labels, resamples=200)
    for name, one in found.items():
        assert one is not None and alone[name] is not None
        assert one.value == pytest.approx(getattr(calibration, name)(other, labels) - alone[name].value)  # type: ignore[union-attr]
        if name != "mce":  # decided by bins of a few examples
            assert one.high - one.low < 0.5 * (alone[name].high - alone[name].low)  # type: ignore[union-attr]
    same = paired_differences(logits, logits, labels, resamples=20)
    assert set(same.values()) == {Interval(0.0, 0.0, 0.0)}


def test_scaling_has_a_difference_without_zero() -> None:
    logits, labels = too_sure(3000, 3)
    found = paired_differences(logits / 2, logits, labels, measures=("ece", "nll", "accuracy"), resamples=200)
    assert all(found[name].high < 0 for name in ("ece", "nll"))  # type: ignore[union-attr]
    assert found["accuracy"] == Interval(0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    found = too_sure(300, 2)
    first, again, other = (bootstrap(*found, resamples=100, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert [first[name].value for name in MEASURES] == [other[name].value for name in MEASURES]  # type: ignore[union-attr]


def test_a_measure_that_is_undefined_has_no_interval() -> None:
    logits = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    found = bootstrap(logits, torch.zeros(20).long(), resamples=50)
    assert found["auroc"] is None and None not in [found[name] for name in MEASURES if name != "auroc"]
    # One example of class 1: a third of the resamples lack it, and say nothing.
    rare = bootstrap(logits, torch.arange(20) // 19, measures=["auroc"], resamples=50)["auroc"]
    assert rare is not None and 0.0 <= rare.low <= rare.value <= rare.high <= 1.0


@given(st.integers(1, 5_000_000), st.integers(1, 3000))
def test_batches_add_up_within_memory(count: int, resamples: int) -> None:
    found = batches(count, resamples)
    assert sum(found) == resamples and min(found) >= 1
    assert max(found) == 1 or max(found) * count <= 1 << 18


def test_each_resample_draws_as_many_as_there_are() -> None:
    seen: list[np.ndarray] = []

    def record(weights: np.ndarray) -> np.ndarray:
        seen.append(weights)
        return weights.sum(axis=1)

    assert resampled({"all": record}, 50, 150, 3)["all"].tolist() == [50.0] * 150
    drawn = np.concatenate(seen)
    # Each example is left out by about 1 / e of the resamples.
    assert drawn.shape == (150, 50) and (drawn == 0).mean() == pytest.approx(0.364, abs=0.02)


def test_what_is_unknown_or_does_not_fit_is_told() -> None:
    logits, labels = too_sure(10, 3)
    with pytest.raises(ConfigError, match=r"expected measures of accuracy, .*, got 'eec'"):
        bootstrap(logits, labels, measures=["ece", "eec"])
    with pytest.raises(DataError, match="the same classes, got 3 and 4"):
        paired_differences(logits, torch.zeros(10, 4), labels)
