"""AUROC against scikit-learn; AURC against all orders of tied examples; neither depends on the order of examples."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.calibration import aurc, auroc, risk_coverage
from l0compile.calibration.predictions import Predictions
from l0compile.errors import DataError
from tests.calibration.drawn_examples import Examples, examples, too_sure


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_auroc_as_scikit_learn(classes: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="compared with scikit-learn")
    logits, labels = too_sure(600, classes)
    p = torch.softmax(logits.double(), 1).numpy()
    expected = metrics.roc_auc_score(labels, p[:, 1] if classes == 2 else p, multi_class="ovr")
    assert auroc(logits, labels) == pytest.approx(expected, abs=1e-12)


@given(examples(least=2, most=25))
def test_auroc_is_the_share_of_pairs_in_order(found: Examples) -> None:
    logits, labels = found
    if len(labels.unique()) < 2:
        with pytest.raises(DataError, match="at least two classes for AUROC, got"):
            auroc(logits, labels)
        return
    odds, areas = Predictions.of(logits, labels).log_odds, []
    for k in [1] if logits.shape[1] == 2 else labels.unique().tolist():
        positive, negative = odds[labels == k, k], odds[labels != k, k]
        differences = positive[:, None] - negative[None]
        areas.append(((differences > 0) + 0.5 * (differences == 0)).mean())
    assert auroc(logits, labels) == pytest.approx(np.mean(areas))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_aurc_is_the_mean_over_all_orders_of_ties(found: list[tuple[int, bool]]) -> None:
    """Logits (0, margin): the larger the margin, the surer."""
    margins = torch.tensor([float(margin) + 1 for margin, _ in found])
    logits = torch.stack((torch.zeros_like(margins), margins), 1)
    labels = torch.tensor([int(right) for _, right in found])
    areas, curves = [], []
    for order in itertools.permutations(found):
        if list(order) == sorted(order, key=lambda pair: -pair[0]):
            wrong = np.array([not right for _, right in order], float)
            curves.append(np.cumsum(wrong) / np.arange(1, len(found) + 1))
            areas.append(curves[-1].mean())
    assert aurc(logits, labels) == pytest.approx(np.mean(areas))
    curve = risk_coverage(logits, labels)
    assert curve.risk == pytest.approx(np.mean(curves, axis=0).tolist())
    assert curve.coverage == pytest.approx([(k + 1) / len(found) for k in range(len(found))])


@given(examples(), st.randoms(use_true_random=False))
def test_order_of_examples_and_scale_make_no_difference(found: Examples, random) -> None:  # type: ignore[no-untyped-def]
    logits, labels = found
    order = torch.tensor(random.sample(range(len(labels)), len(labels)))
    assert aurc(logits[order], labels[order]) == pytest.approx(aurc(logits, labels), abs=1e-9)
    curves = risk_coverage(logits, labels, 10), risk_coverage(logits[order], labels[order], 10)
    assert curves[0].risk == pytest.approx(curves[1].risk, abs=1e-9)
    if len(labels.unique()) > 1:
        assert auroc(logits[order], labels[order]) == pytest.approx(auroc(logits, labels), abs=1e-9)
    if logits.shape[1] == 2:
        assert aurc(0.25 * logits, labels) == pytest.approx(aurc(logits, labels), abs=1e-9)


def test_the_curve_ends_at_the_error_rate() -> None:
    logits, labels = too_sure(1000, 4)
    wrong = float((logits.argmax(1) != labels).double().mean())
    curve = risk_coverage(logits, labels, 100)
    assert len(curve.risk) == 100 and curve.coverage[-1] == 1.0 and curve.risk[-1] == pytest.approx(wrong)
    assert curve.risk[9] < 0.5 * wrong and aurc(logits, labels) < 0.8 * wrong
    full = risk_coverage(logits, labels)
    assert aurc(logits, labels) == pytest.approx(np.mean(full.risk))
    assert curve.risk == pytest.approx(list(full.risk[9::10]))


def test_confidence_that_says_nothing_has_the_error_rate() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    assert aurc(torch.zeros(4, 3), labels) == pytest.approx(0.5)
    assert auroc(torch.zeros(4, 3), labels) == 0.5


def test_saturated_confidence_is_ranked_still() -> None:
    logits = torch.tensor([[0.0, 50.0], [0.0, 60.0], [0.0, 70.0]])
    assert auroc(logits, torch.tensor([0, 1, 1])) == 1.0
    assert aurc(logits, torch.tensor([0, 1, 1])) == pytest.approx(1 / 9)
