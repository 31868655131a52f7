"""The distribution against Monte-Carlo, and its special points."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.gates import hard_concrete as hc

ALPHAS = torch.tensor([-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def samples() -> torch.Tensor:
    torch.manual_seed(0)
    return hc.sample(ALPHAS.expand(200_000, -1).contiguous())


def test_open_probability_and_mass_at_one_by_monte_carlo(samples: torch.Tensor) -> None:
    # Standard error of a frequency over 200,000 draws is at most 0.0012.
    assert torch.allclose((samples != 0).double().mean(0), hc.open_probability(ALPHAS), atol=0.006)
    full = torch.sigmoid(ALPHAS - hc.OPEN_AT)
    assert torch.allclose((samples == 1).double().mean(0), full, atol=0.006)
    assert samples.min() == 0.0 and samples.max() == 1.0


def test_quantiles_and_median_by_monte_carlo(samples: torch.Tensor) -> None:
    for level in (0.1, 0.5, 0.8):
        assert torch.allclose(samples.quantile(level, 0), hc.quantile(ALPHAS, level), atol=0.02)
    assert torch.allclose(hc.median(ALPHAS), hc.quantile(ALPHAS, 0.5))
    conditional = torch.stack([column[column > 0].median() for column in samples.unbind(1)])
    assert torch.allclose(conditional, hc.open_median(ALPHAS), atol=0.03)


def test_known_constants() -> None:
    assert hc.open_probability(torch.tensor(0.0)).item() == pytest.approx(0.8318, abs=1e-4)
    assert pytest.approx(-1.5986, abs=1e-4) == hc.CLOSED_AT
    bound = torch.tensor(-hc.LOG_ALPHA_BOUND)
    assert hc.open_probability(bound).item() == pytest.approx(0.00166, abs=1e-5)


@given(st.floats(-8, 8))
def test_median_is_zero_exactly_where_open_is_unlikely(value: float) -> None:
    alpha = torch.tensor(value, dtype=torch.float64)
    if abs(value - hc.CLOSED_AT) > 1e-6:
        assert bool(hc.median(alpha) > 0) == bool(hc.open_probability(alpha) > 0.5)
    if abs(value - hc.OPEN_AT) > 1e-6:
        assert bool(hc.median(alpha) == 1) == (value > hc.OPEN_AT)
    assert hc.open_median(alpha) > 0


@settings(max_examples=30)
@given(st.floats(0.01, 0.99))
def test_log_alpha_of_inverts_open_probability(probability: float) -> None:
    p = torch.tensor(probability, dtype=torch.float64)
    assert torch.allclose(hc.open_probability(hc.log_alpha_of(p)), p)


@pytest.mark.parametrize("count", [101, hc._FEW, hc._FEW + 1, 3 * hc._FEW])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sample_and_gradient_are_those_of_the_formula(count: int, dtype: torch.dtype) -> None:
    alpha = torch.linspace(-3, 3, count, dtype=dtype, requires_grad=True)
    torch.manual_seed(3)
    z = hc.sample(alpha)
    (ours,) = torch.autograd.grad(z.sum(), alpha)
    torch.manual_seed(3)
    noise = hc._logistic_noise(alpha.detach())
    stretched = torch.sigmoid((noise + alpha) / hc.BETA) * (hc.ZETA - hc.GAMMA) + hc.GAMMA
    (reference,) = torch.autograd.grad(stretched.clamp(0, 1).sum(), alpha)
    exact = dtype == torch.float64
    torch.testing.assert_close(z, stretched.clamp(0, 1), **({} if exact else {"atol": 2e-6, "rtol": 2e-5}))
    # A gate within rounding of a bound may be on either side of it, and its gradient is 0 beyond.
    inside = (stretched - 0.5).abs().sub(0.5).abs() > (1e-12 if exact else 1e-5)
    within = {} if exact else {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(ours[inside], reference[inside], **within)
    assert (ours == 0).any() and (ours > 0).any()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (64, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_noise_has_the_shape_and_type_of_the_gates(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    noise = hc._logistic_noise(torch.zeros(shape, dtype=dtype))
    assert noise.shape == shape and noise.dtype == dtype and bool(noise.isfinite().all())


@pytest.mark.parametrize("piece", [1 << 18, hc._FEW])
def test_noise_is_logistic_and_independent(piece: int) -> None:
    def draw() -> torch.Tensor:
        torch.manual_seed(0)
        pieces = [
            hc._logistic_noise(torch.zeros(piece, dtype=torch.float64)) for _ in range((1 << 18) // piece)
        ]
        return torch.sigmoid(torch.cat(pieces))

    u = draw()
    levels = torch.linspace(0, 1, len(u), dtype=torch.float64)
    assert (
        float((u.sort().values - levels).abs().max()) < 2.0 / len(u) ** 0.5
    )  # Kolmogorov-Smirnov, p < 0.001
    for distance in (1, 2, 3, 4, 5):
        assert (
            abs(float(torch.corrcoef(torch.stack([u[:-distance], u[distance:]]))[0, 1])) < 4 / len(u) ** 0.5
        )
    assert torch.equal(u, draw())
