"""Summaries of samples, and their way through JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.measurement import Measurement, Protocol

blocks = st.lists(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), min_size=1, max_size=12)


@given(blocks)
def test_summary_and_round_trip(times: list[list[float]]) -> None:
    made = Measurement.from_blocks(times, Protocol(resamples=50))
    assert made.samples_ms == tuple(sample for block in times for sample in block)
    assert made.calls == tuple(map(len, times)) and len(made.block_ms) == len(times)
    assert min(made.block_ms) <= made.low_ms <= made.high_ms <= max(made.block_ms)
    assert Measurement.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_median_is_over_blocks_not_calls() -> None:
    made = Measurement.from_blocks([[1.0] * 100, [2.0], [3.0]], Protocol())
    assert made.median_ms == 2.0


@pytest.mark.parametrize(("percentile", "wanted"), [(0, 1.0), (50, 3.0), (75, 4.0), (100, 50.0)])
def test_another_percentile_may_stand_for_a_block(percentile: float, wanted: float) -> None:
    made = Measurement.from_blocks([[1.0, 2.0, 3.0, 4.0, 50.0]] * 6, Protocol(percentile=percentile))
    assert made.median_ms == made.low_ms == made.high_ms == wanted and made.block_ms == (wanted,) * 6


@pytest.mark.parametrize(
    ("medians", "noisy"),
    [
        ([1.0] * 20, False),
        ([1.0] * 3, True),  # too few blocks
        ([1.0, 1.5] * 10, True),  # wide
        ([1.0] * 7 + [1.04] * 6 + [1.06] * 7, True),  # drifts
    ],
)
def test_noise_is_flagged(medians: list[float], noisy: bool) -> None:
    assert Measurement.from_blocks([[value] for value in medians], Protocol()).noisy is noisy


def test_drift() -> None:
    assert Measurement.from_blocks([[value] for value in [1, 1, 2, 2, 3, 3]], Protocol()).drift == 3.0


def test_failure_is_data() -> None:
    made = Measurement.failed("out of memory", Protocol())
    text = json.dumps(made.to_dict(), allow_nan=False)
    back = Measurement.from_dict(json.loads(text))
    assert back == made and not back.ok and math.isnan(back.median_ms)
    assert str(back) == "failed: out of memory"
    assert not Measurement.failed("", Protocol()).ok


@pytest.mark.parametrize("times", [[], [[1.0], []]])
def test_empty_blocks_are_refused(times: list[list[float]]) -> None:
    with pytest.raises(DataError, match="at least one call in each block"):
        Measurement.from_blocks(times, Protocol())


def test_missing_key_is_named() -> None:
    data = Measurement.failed("x", Protocol()).to_dict()
    del data["drift"]
    with pytest.raises(DataError, match="drift: is missing"):
        Measurement.from_dict(data)
