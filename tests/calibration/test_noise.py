"""A calibrated model's error is within the noise, another's is not."""

import pytest

from l0compile.calibration import ece, ece_noise
from tests.calibration.drawn_examples import too_sure


def test_an_honest_model_is_within_and_a_sure_one_beyond() -> None:
    runs, within, errors = 60, 0, []
    for seed in range(runs):
        logits, labels = too_sure(400, 3, seed, factor=1.0)
        noise = ece_noise(logits, resamples=200, seed=seed)
        errors.append(ece(logits, labels))
        within += noise.low <= errors[-1] <= noise.high
        assert ece(2 * logits, labels) > ece_noise(2 * logits, resamples=200).high
    assert 0.85 <= within / runs <= 1.0
    assert noise.value == pytest.approx(sum(errors) / runs, rel=0.1)


def test_more_examples_less_noise() -> None:
    few, many = (ece_noise(too_sure(count, 2)[0], resamples=100).value for count in (300, 4800))
    assert many == pytest.approx(few / 4, rel=0.15)
