"""Least squares against direct regression."""

import torch
from direct import random_layer, regression
from hypothesis import given
from hypothesis import strategies as st

from l0compile.studies.pruning.least_squares import least_squares


@given(
    st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 2, 4]), st.floats(0, 1), st.integers(0, 1000)
)
def test_least_squares_is_the_regression_on_each_support(
    out: int, width: int, rows: int, density: float, seed: int
) -> None:
    weight, curvature = random_layer(out, width, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    support = torch.rand(-(-out // rows), width, generator=generator) < density
    mask = support.repeat_interleave(rows, 0)[:out]
    found, wanted = (
        least_squares(weight, curvature, support, rows),
        regression(weight, curvature.damped, mask),
    )
    assert not found[~mask].any()
    for mine, other in zip(found.double(), wanted, strict=True):
        assert torch.allclose(mine, other, rtol=1e-2, atol=1e-2 * float(other.abs().max()))
