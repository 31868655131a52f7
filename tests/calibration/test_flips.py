"""Flips and the largest difference of two models' logits; NaN is never the same."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l0compile.calibration import Flips, compare
from l0compile.errors import DataError
from tests.calibration.drawn_examples import Examples, examples


def test_flips_difference_and_margin() -> None:
    first = torch.tensor([[1.0, 0.0, 0.5], [0.25, 0.0, 0.0], [0.0, 3.0, 0.0]])
    second = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.5, 0.0], [0.0, 3.0, -2.0]])
    assert compare(first, second) == Flips(1, 3, 2.0, (2, 2), 0.25)


@given(examples(), st.data())
def test_counted_one_by_one(found: Examples, data: st.DataObject) -> None:
    logits, _ = found
    other = logits[data.draw(st.permutations(range(len(logits))))]
    one = compare(logits, other)
    pairs = list(zip(logits.argmax(1).tolist(), other.argmax(1).tolist(), strict=True))
    assert one.flips == sum(a != b for a, b in pairs) and one.examples == len(logits)
    gaps = (logits.double() - other.double()).abs()
    assert one.largest_difference == float(gaps.max()) == float(gaps[one.where])
    assert compare(logits, logits) == Flips(0, len(logits), 0.0, (0, 0), 0.0)
    assert one.margin >= 0.0 and (one.flips or one.margin == 0.0)


def test_what_can_not_be_compared_is_told() -> None:
    good = torch.zeros(2, 3)
    bad = torch.tensor([[0.0, 0.0, 0.0], [0.0, math.nan, 0.0]])
    with pytest.raises(
        DataError, match="finite logits of the first model, got NaN or infinity in 1 of 2 rows"
    ):
        compare(bad, bad)
    with pytest.raises(DataError, match=r"finite logits of the second, .* row 1"):
        compare(good, bad)
    with pytest.raises(DataError, match=r"one shape to compare, got \[2, 3\] and \[2, 2\]"):
        compare(good, good[:, :2])
