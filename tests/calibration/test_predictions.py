"""Wrong inputs are told apart and told; extreme logits keep their probabilities."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from l0compile import calibration
from l0compile.calibration.predictions import Predictions
from l0compile.errors import ConfigError, DataError
from tests.calibration.drawn_examples import Examples, examples

MEASURED = [getattr(calibration, name) for name in calibration.MEASURES]
GOOD = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.5, 0.0]])
LABELS = torch.tensor([1, 0, 1])
NAN = torch.tensor([[0.0, 1.0], [math.nan, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (GOOD[:0], LABELS[:0], "at least one example"),
        (GOOD[:, :1], LABELS, "give a model with one output"),
        (GOOD[0], LABELS, r"float tensor \[N, classes\], got float32 \[2\]"),
        (GOOD.long(), LABELS, "float tensor .*, got int64"),
        (GOOD.numpy(), LABELS, "got ndarray"),
        (NAN, LABELS, "in 1 of 3 rows, the first of them row 1"),
        (NAN.nan_to_num(math.inf), LABELS, "NaN or infinity"),
        (GOOD, LABELS[:2], r"labels int64 \[3\], one for each row of logits, got int64 \[2\]"),
        (GOOD, LABELS[:, None], r"got int64 \[3, 1\]"),
        (GOOD, LABELS.float(), "got float32"),
        (GOOD, LABELS.bool(), "got bool"),
        (GOOD, [1, 0, 1], "got list"),
        (GOOD, LABELS + 1, r"labels in 0\.\.1, .*, got 1\.\.2"),
        (GOOD, -LABELS, r"got -1\.\.0; leave out examples without a label"),
    ],
)
def test_what_is_malformed_is_told(logits: Tensor, labels: Tensor, words: str) -> None:
    for function in (*MEASURED, calibration.fit_temperature, calibration.bootstrap):
        with pytest.raises(DataError, match=f"calibration: expected .*{words}"):
            function(logits, labels)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_counts_are_positive_integers(count: int) -> None:
    calls = [
        lambda: calibration.ece(GOOD, LABELS, count),
        lambda: calibration.equal_mass_ece(GOOD, LABELS, count),
        lambda: calibration.risk_coverage(GOOD, LABELS, count),
        lambda: calibration.bootstrap(GOOD, LABELS, resamples=count),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="integer of at least 1, got"):
            call()


@given(examples())
def test_extremes_are_probabilities_still(found: Examples) -> None:
    one = Predictions.of(*found)
    assert np.isfinite(one.log_probabilities).all() and np.isfinite(one.log_odds).all()
    np.testing.assert_allclose(one.probabilities.sum(axis=1), 1.0, atol=1e-12)
    exact = torch.log_softmax(found[0].double(), 1).numpy()
    np.testing.assert_allclose(one.log_probabilities, exact, rtol=1e-12, atol=1e-12)
    assert one.predicted.tolist() == found[0].argmax(1).tolist()
    assert (one.confidence >= 1.0 / one.classes - 1e-12).all() and (one.confidence <= 1.0).all()


@given(examples())
def test_log_odds_are_those_of_the_probabilities(found: Examples) -> None:
    one = Predictions.of(*found)
    logits = found[0].double()
    for k in range(one.classes):
        others = torch.cat((logits[:, :k], logits[:, k + 1 :]), 1)
        expected = (logits[:, k] - torch.logsumexp(others, 1)).numpy()
        np.testing.assert_allclose(one.log_odds[:, k], expected, rtol=1e-9, atol=1e-9)


def test_log_odds_tell_apart_what_rounds_to_one() -> None:
    one = Predictions.of(torch.tensor([[50.0, 0.0], [60.0, 0.0], [1e4, -1e4]]), torch.tensor([0, 0, 0]))
    assert one.confidence.tolist() == [1.0, 1.0, 1.0]
    assert one.log_odds[:, 0].tolist() == [50.0, 60.0, 2e4]


def test_other_types_and_devices_are_taken_as_they_are() -> None:
    logits = GOOD.clone().requires_grad_()
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        assert calibration.nll(logits.to(kind), LABELS.int()) == pytest.approx(calibration.nll(GOOD, LABELS))
