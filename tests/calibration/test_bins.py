"""Calibration errors against other libraries, by hand at the edges of bins, and what must hold for all inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from l0compile.calibration import classwise_ece, ece, equal_mass_ece, mce, reliability_bins
from l0compile.calibration.bins import bin_index, ece_of, equal_mass_ece_of, mce_of
from l0compile.calibration.groups import Ranking
from l0compile.calibration.predictions import Predictions
from tests.calibration.drawn_examples import Examples, examples, too_sure, with_confidence

ERRORS = (ece, mce, equal_mass_ece, classwise_ece)
CASES = [(2, 1000, 15), (3, 700, 15), (5, 400, 10), (2, 999, 1)]


def probabilities(logits: Tensor) -> Tensor:
    return torch.softmax(logits.double(), 1)


@pytest.mark.parametrize(("classes", "count", "bins"), CASES)
def test_as_torchmetrics_away_from_edges(classes: int, count: int, bins: int) -> None:
    metrics = pytest.importorskip(
        "torchmetrics.functional.classification", reason="compared with torchmetrics"
    )
    logits, labels = too_sure(count, classes)
    logits = logits.clamp(-7, 7)  # no confidence of 1 in float32
    p = probabilities(logits)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    assert (p[..., None] - edges).abs().min() > 1e-7, "in float32 an example may change its bin"
    for ours, norm in ((ece, "l1"), (mce, "max")):
        theirs = metrics.multiclass_calibration_error(p, labels, classes, n_bins=bins, norm=norm)
        assert ours(logits, labels, bins) == pytest.approx(float(theirs), abs=1e-5)
    each = [
        metrics.binary_calibration_error(p[:, k], (labels == k).long(), n_bins=bins) for k in range(classes)
    ]
    assert classwise_ece(logits, labels, bins) == pytest.approx(
        float(torch.stack(each).double().mean()), abs=1e-5
    )


def test_where_torchmetrics_has_other_bins() -> None:
    metrics = pytest.importorskip(
        "torchmetrics.functional.classification", reason="compared with torchmetrics"
    )
    certain, half = [[-100.0, 100.0], [0.0, 0.0]], [0, 0]
    logits, labels = torch.tensor(certain), torch.tensor(half)
    p = probabilities(logits).float()
    assert p.max(1).values.tolist() == [1.0, 0.5]
    # One bin holds everything: |0.5 - 0.75|. There, 1 has a bin of its own: |0 - 1| / 2 + |1 - 0.5| / 2.
    assert ece(logits, labels, 1) == 0.25
    assert float(metrics.multiclass_calibration_error(p, labels, 2, n_bins=1)) == 0.75
    # An edge belongs to the bin below it, and there to the one above: 0.5 with 0.4 or with 0.6.
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.4, 0.3, 0.3], [0.6, 0.2, 0.2]]))
    labels = torch.tensor([0, 1, 1])
    assert bin_index(np.array([0.5, 0.4, 0.6]), 2).tolist() == [0, 0, 1]
    p = torch.tensor([[0.5, 0.25, 0.25], [0.4, 0.3, 0.3], [0.6, 0.2, 0.2]])
    theirs = float(metrics.multiclass_calibration_error(p, labels, 3, n_bins=2))
    assert theirs == pytest.approx((0.4 + abs(1 - 1.1)) / 3)
    logits[0, 0] -= 1e-6  # below the edge also where the logarithm was rounded up
    assert ece(logits, labels, 2) == pytest.approx((abs(1 - 0.9) + 0.6) / 3, abs=1e-5)


@pytest.mark.parametrize(("classes", "count", "bins"), CASES)
def test_bins_as_scikit_learn(classes: int, count: int, bins: int) -> None:
    curve = pytest.importorskip("sklearn.calibration", reason="compared with scikit-learn").calibration_curve
    logits, labels = too_sure(count, classes)
    found = Predictions.of(logits, labels)
    right, mean = curve(found.correct, found.confidence, n_bins=bins, pos_label=1.0)
    filled = [item for item in reliability_bins(logits, labels, bins) if item.count]
    assert [item.accuracy for item in filled] == pytest.approx(right.tolist())
    assert [item.confidence for item in filled] == pytest.approx(mean.tolist())
    if count % bins == 0:
        right, mean = curve(found.correct, found.confidence, n_bins=bins, pos_label=1.0, strategy="quantile")
        assert equal_mass_ece(logits, labels, bins) == pytest.approx(np.abs(right - mean).mean())


def test_an_edge_belongs_to_the_bin_below() -> None:
    edges = np.linspace(0, 1, 16)
    assert bin_index(edges, 15).tolist() == [0, *range(15)]
    above = np.nextafter(edges[:-1], 2)
    assert bin_index(above, 15).tolist() == list(range(15))
    # Exactly half: the end of the first of two bins.
    (first, second) = reliability_bins(torch.zeros(3, 2), torch.tensor([0, 1, 1]), 2)
    assert (first.count, first.confidence, first.accuracy) == (3, 0.5, pytest.approx(1 / 3))
    assert (second.low, second.high, second.count, second.confidence, second.accuracy) == (
        0.5, 1.0, 0, None, None,
    )  # fmt: skip


def test_errors_by_hand() -> None:
    # Bins (0.6, 0.8] and (0.8, 1]: gaps |1/2 - 0.7| over 2 examples, |2/3 - 0.9| over 3.
    found = with_confidence([0.65, 0.75, 0.85, 0.9, 0.95], [True, False, True, True, False])
    assert found.value(ece_of(found, 5)) == pytest.approx((2 * 0.2 + 3 * (0.9 - 2 / 3)) / 5)
    assert found.value(mce_of(found, 5)) == pytest.approx(0.9 - 2 / 3)
    # Two bins of 2.5: the example in the middle counts half in each.
    gaps = [0.35, -0.75, 0.15, 0.1, -0.95]
    halves = gaps[0] + gaps[1] + gaps[2] / 2, gaps[2] / 2 + gaps[3] + gaps[4]
    assert found.value(equal_mass_ece_of(found, 2)) == pytest.approx(sum(map(abs, halves)) / 5)


@given(examples(), st.integers(1, 20))
def test_equal_mass_is_that_of_examples_cut_into_pieces(found: Examples, bins: int) -> None:
    """Cut each example into as many pieces as there are bins: then every bin holds N pieces, and none is divided."""
    one = Predictions.of(*found)
    ranking = Ranking.of(one.confidence)
    gap = (one.correct - one.confidence)[ranking.order]
    runs = np.split(gap, ranking.edges()[1:-1])
    shared = np.concatenate([np.full(len(run), run.mean()) for run in runs])
    pieces = np.repeat(shared, bins).reshape(bins, one.examples)
    expected = np.abs(pieces.sum(axis=1)).sum() / (bins * one.examples)
    assert equal_mass_ece(*found, bins) == pytest.approx(expected, abs=1e-9)


@given(examples(), st.integers(1, 20), st.randoms(use_true_random=False))
def test_what_holds_for_every_calibration_error(found: Examples, bins: int, random) -> None:  # type: ignore[no-untyped-def]
    logits, labels = found
    order = torch.tensor(random.sample(range(len(labels)), len(labels)))
    for error in ERRORS:
        value = error(logits, labels, bins)
        assert -1e-12 <= value <= 1 + 1e-12
        assert error(logits[order], labels[order], bins) == pytest.approx(value, abs=1e-9)
        assert error(logits.repeat(3, 1), labels.repeat(3), bins) == pytest.approx(value, abs=1e-9)
    assert ece(logits, labels, bins) <= mce(logits, labels, bins) + 1e-12
    # Merging bins can only let gaps cancel.
    assert ece(logits, labels, 1) <= ece(logits, labels, bins) + 1e-12
    assert equal_mass_ece(logits, labels, 1) == pytest.approx(ece(logits, labels, 1), abs=1e-9)


@given(examples(), st.integers(1, 20))
def test_bins_hold_every_example_once(found: Examples, bins: int) -> None:
    one = reliability_bins(*found, bins)
    assert len(one) == bins and sum(item.count for item in one) == len(found[1])
    edges = [item.low for item in one] + [1.0]
    assert edges == [0.0, *(item.high for item in one)]
    for item in one:
        assert (item.confidence is None) == (item.accuracy is None) == (item.count == 0)
        assert item.confidence is None or item.low - 1e-12 <= item.confidence <= item.high + 1e-12
    gaps = [item.count * abs(item.accuracy - item.confidence) for item in one if item.count]  # type: ignore[operator]
    assert sum(gaps) / len(found[1]) == pytest.approx(ece(*found, bins), abs=1e-12)


@given(st.lists(st.integers(2, 4), min_size=1, max_size=4))
def test_perfectly_calibrated_bins_have_no_error(quarters: list[int]) -> None:
    """Of four examples with confidence n / 4, n are right."""
    confidences: list[float] = []
    correct: list[bool] = []
    for n in quarters:
        confidences += [n / 4] * 4
        correct += [True] * n + [False] * (4 - n)
    found = with_confidence(confidences, correct)
    for statistic in (ece_of(found), mce_of(found), equal_mass_ece_of(found, len(quarters))):
        assert found.value(statistic) == pytest.approx(0.0, abs=1e-12)


def test_a_model_that_is_sure_and_wrong_has_the_largest_error() -> None:
    logits, labels = torch.tensor([[1e4, -1e4]] * 4), torch.tensor([1, 1, 1, 1])
    assert [error(logits, labels) for error in ERRORS] == [1.0] * 4
    assert [error(logits, 1 - labels) for error in ERRORS] == [0.0] * 4
