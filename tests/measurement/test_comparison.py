"""Ratios of synthetic measurements, whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ConfigError
from l0compile.measurement import Measurement, Protocol, Ratio, ratio


def synthetic(
    rng: np.random.Generator, scale: float, slow: np.ndarray | None = None, blocks: int = 20
) -> Measurement:
    """Blocks of 5 calls of about ``scale`` ms; ``slow`` is what the machine did to each block."""
    weather = np.ones(blocks) if slow is None else slow
    times = scale * weather[:, None] * rng.lognormal(0, 0.02, (blocks, 5))
    return Measurement.from_blocks(times.tolist(), Protocol(blocks=blocks))


@given(st.integers(0, 2**32), st.booleans())
def test_the_same_samples_have_ratio_one(seed: int, paired: bool) -> None:
    one = synthetic(np.random.default_rng(seed), 3.0)
    found = ratio(one, one, paired=paired)
    assert found.value == pytest.approx(1.0)
    assert found.low <= 1.0 <= found.high


@given(st.integers(0, 2**32), st.floats(0.2, 5.0), st.booleans())
def test_exchanging_the_two_inverts_the_ratio(seed: int, factor: float, paired: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = synthetic(rng, factor), synthetic(rng, 1.0)
    there, back = ratio(a, b, paired=paired), ratio(b, a, paired=paired)
    assert there.value == pytest.approx(1 / back.value)
    assert there.low <= there.value <= there.high
    assert there.value == pytest.approx(factor, rel=0.05)


def test_a_against_a_contains_one_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for paired in (False, True):
        found = [ratio(synthetic(rng, 2.0), synthetic(rng, 2.0), paired=paired) for _ in range(100)]
        assert np.mean([r.low <= 1 <= r.high for r in found]) >= 0.88
        assert not [r for r in found if r.verdict() in ("faster", "slower")]


def test_pairing_cancels_what_slowed_the_whole_machine() -> None:
    rng = np.random.default_rng(1)
    slow = rng.choice([1.0, 2.0], 20)
    a, b = synthetic(rng, 3.0, slow), synthetic(rng, 2.0, slow)
    paired, unpaired = ratio(a, b, paired=True), ratio(a, b)
    assert paired.value == pytest.approx(1.5, rel=0.02)
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.5, 2, "faster"),
        (0.5, 0.9, "slower"),
        (0.99, 1.01, "same"),
        (0.9, 1.1, "unclear"),
        (1.01, 1.2, "unclear"),
    ],
)
def test_verdict(low: float, high: float, verdict: str) -> None:
    assert Ratio((low + high) / 2, low, high).verdict() == verdict


def test_failed_and_unequal_measurements_are_refused() -> None:
    fine = synthetic(np.random.default_rng(0), 1.0)
    with pytest.raises(ConfigError, match="the second measurement has no samples: no such engine"):
        ratio(fine, Measurement.failed("no such engine", Protocol()))
    with pytest.raises(ConfigError, match="equal numbers of blocks, got 20 and 6"):
        ratio(fine, synthetic(np.random.default_rng(0), 1.0, blocks=6), paired=True)
