"""Scores against scikit-learn, and at extremes by hand."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given

from l0compile.calibration import accuracy, brier, macro_f1, nll
from tests.calibration.drawn_examples import Examples, examples, too_sure

metrics = pytest.importorskip("sklearn.metrics", reason="compared with scikit-learn")


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_as_scikit_learn(classes: int) -> None:
    logits, labels = too_sure(800, classes)
    p, y = torch.softmax(logits.double(), 1).numpy(), labels.numpy()
    assert nll(logits, labels) == pytest.approx(metrics.log_loss(y, p))
    assert brier(logits, labels) == pytest.approx(metrics.brier_score_loss(y, p, scale_by_half=False))
    if classes == 2:
        assert brier(logits, labels) == pytest.approx(2 * metrics.brier_score_loss(y, p[:, 1]))


@given(examples())
def test_decisions_as_scikit_learn(found: Examples) -> None:
    logits, labels = found
    y, predicted = labels.numpy(), logits.argmax(1).numpy()
    assert accuracy(logits, labels) == pytest.approx(metrics.accuracy_score(y, predicted))
    with warnings.catch_warnings():
        # A class that is never predicted has no precision, and F1 = 0: as it is here.
        warnings.simplefilter("ignore")
        assert macro_f1(logits, labels) == pytest.approx(metrics.f1_score(y, predicted, average="macro"))


@given(examples())
def test_ranges(found: Examples) -> None:
    classes = found[0].shape[1]
    exact = torch.nn.functional.cross_entropy(found[0].double(), found[1])
    assert nll(*found) == pytest.approx(float(exact), rel=1e-12, abs=1e-12)
    assert 0.0 <= brier(*found) <= 2.0 + 1e-12
    assert brier(torch.zeros(1, classes), torch.tensor([0])) == pytest.approx(1 - 1 / classes)


def test_certain_and_wrong_is_not_clipped() -> None:
    logits, labels = torch.tensor([[1e4, -1e4]]), torch.tensor([1])
    assert nll(logits, labels) == 2e4 and brier(logits, labels) == 2.0
    p = torch.softmax(logits.double(), 1).numpy()
    assert metrics.log_loss([1], p, labels=[0, 1]) == pytest.approx(-math.log(np.finfo(float).eps))
