"""The scales of inputs and weights, and rounding with compensation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.quantization.rounding import compensated, row_scales, to_grid
from l0compile.quantization.scales import choose_scale


def output_error(rows: torch.Tensor, weight: torch.Tensor) -> float:
    scale = choose_scale(rows, rows.abs().amax(0), weight)
    values = weight / scale.inverse
    steps = row_scales(values)
    found = scale.rounded(rows) @ (to_grid(values, steps) * steps[:, None]).T
    wanted = rows @ weight.T
    return float((found - wanted).square().sum() / wanted.square().sum())


@settings(max_examples=40, deadline=None)
@given(
    shift=st.floats(-4, 4),
    size=st.sampled_from([1e-38, 1e-20, 1e-3, 1.0, 1e6, 1e18]),
    dead=st.booleans(),
    constant=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_scales_are_positive_and_finite_and_zero_points_even(
    shift: float, size: float, dead: bool, constant: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = (torch.randn(64, 8, generator=generator) + shift) * size
    weight = torch.randn(5, 8, generator=generator)
    if dead:
        rows[:, 2], weight[:, 3], weight[1] = 0.0, 0.0, 0.0
    if constant:
        rows[:, 4] = size
    scale = choose_scale(rows, rows.abs().amax(0), weight)
    assert bool(((scale.inverse > 0) & scale.inverse.isfinite()).all())
    assert 0 <= scale.zero_point <= 254 and scale.zero_point % 2 == 0
    steps = row_scales(weight / scale.inverse)
    assert bool(((steps > 0) & steps.isfinite()).all())
    assert bool((scale.rounded(torch.zeros(1, 8)) == 0).all())


def test_inputs_of_zeros_have_a_scale() -> None:
    scale = choose_scale(torch.zeros(4, 3), torch.zeros(3), torch.randn(2, 3))
    assert scale.inverse.tolist() == [1.0] and scale.zero_point == 0


def test_inputs_that_are_never_negative_use_the_whole_range() -> None:
    rows = torch.rand(200, 6)
    assert choose_scale(rows, rows.abs().amax(0), torch.randn(4, 6)).zero_point == 0


def test_outliers_of_one_feature_hardly_harm_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, weight = torch.randn(500, 32, generator=generator), torch.randn(16, 32, generator=generator)
    rows[:, 5] *= 300
    weight[:, 5] /= 300
    assert output_error(rows, weight) < 1e-3


def test_a_single_outlier_is_cut_off() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, weight = torch.randn(4000, 4, generator=generator), torch.randn(3, 4, generator=generator)
    rows[7] = 12.0
    scale = choose_scale(rows, rows.abs().amax(0), weight)
    assert float((254 / scale.inverse).max()) < 20  # 24 without a cut


@pytest.mark.parametrize("zeros", [False, True])
def test_compensation_lowers_the_error_of_the_output_and_keeps_zeros(zeros: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(160, 160, generator=generator)
    rows = torch.randn(2000, 160, generator=generator) @ mix
    weight = torch.randn(12, 160, generator=generator)
    if zeros:
        weight[torch.rand(12, 160, generator=generator) < 0.6] = 0.0
    steps = 8 * row_scales(weight)
    gram = rows.T @ rows / len(rows)
    made = to_grid(compensated(weight, steps, gram, weight != 0), steps) * steps[:, None]
    nearest = to_grid(weight, steps) * steps[:, None]

    def error(found: torch.Tensor) -> float:
        return float((rows @ (found - weight).T).square().sum())

    assert error(made) < (0.9 if zeros else 0.6) * error(nearest)
    assert bool((made[weight == 0] == 0).all())


def test_inputs_of_zeros_leave_nothing_to_compensate() -> None:
    weight = torch.randn(3, 4)
    assert torch.equal(compensated(weight, row_scales(weight), torch.zeros(4, 4), weight != 0), weight)
