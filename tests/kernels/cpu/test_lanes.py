"""Accuracy of the polynomial functions, over the whole range, against double precision."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.hardware._tvm import runtime
from l0compile.ir.ops.activation import ACTIVATIONS
from l0compile.kernels.cpu import lanes
from l0compile.kernels.tir import TB
from tests.kernels.kept_code import kept_code

LANES = 4
REFERENCES = {
    "exp": (torch.exp, -80.0, 80.0),
    "erf": (torch.erf, -6.0, 6.0),
    "tanh": (torch.tanh, -20.0, 20.0),
    "sigmoid": (torch.sigmoid, -30.0, 30.0),
    "gelu": (torch.nn.functional.gelu, -10.0, 10.0),
}


@cache
def compiled(name: str, size: int) -> Any:
    function = lanes.ACTIVATIONS.get(name) or getattr(lanes, name)
    with lanes.kernel("activation") as builder:
        a, b = lanes.param("a", (size,)), lanes.param("b", (size,))
        with lanes.body(), TB.serial(0, size // LANES) as i:
            register = lanes.ramp(i * LANES, LANES)
            lanes.store(b, function(a[register]), register)
    return kept_code(builder.get())


def computed(name: str, x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    compiled(name, x.numel())(runtime.from_dlpack(x), runtime.from_dlpack(y))
    return y


@pytest.mark.parametrize("name", REFERENCES)
def test_accuracy(name: str) -> None:
    reference, low, high = REFERENCES[name]
    x = torch.linspace(low, high, 1 << 16)
    y, expected = computed(name, x), reference(x.double())
    scale = expected.abs() if name == "exp" else expected.abs().clamp(min=1.0)
    assert ((y.double() - expected).abs() / scale).max() < (1.2e-6 if name == "gelu" else 5e-7)
    assert not math.isnan(float(y.sum()))


def test_exponentials_of_differences_to_a_maximum() -> None:
    x = torch.cat(
        [torch.linspace(-88, 0, 1 << 16), torch.tensor([-89.0, -3.4e38, float("-inf"), float("nan")])]
    )
    y = computed("exp_below", x)
    expected = torch.exp(x.double())
    error = ((y.double() - expected) / expected).abs()[:-4]
    assert error[x[:-4] > -10].max() < 4e-7 and error[x[:-4] > -87].max() < 5e-6
    assert y[x == 0].eq(1).all() and y[-4:-1].eq(0).all() and y[-1].isnan()


CORNERS = torch.tensor([math.nan, math.inf, 0.0, -0.0, 3.0, -3.0, 6.0, -6.0, 2.9999998, -2.9999998, 6.0000005,
                        1e-38, -1e-38, 10.0, -10.0, 1e30])  # fmt: skip
# Far below zero they multiply by a factor that PyTorch rounds to 0; the kernels' factor is not quite 0.
NOT_FAR_BELOW = {"gelu", "gelu_tanh", "silu"}


def test_kernels_have_every_activation_that_operators_have() -> None:
    assert lanes.ACTIVATIONS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_at_their_corners(name: str) -> None:
    more = torch.tensor([] if NOT_FAR_BELOW.intersection(name.split("/")) else [-1e30, -math.inf])
    x = torch.cat([CORNERS, more]).repeat(16)
    # In float32 PyTorch 2.13 gives NaN for GELU of infinity on some CPUs.
    expected, got = ACTIVATIONS[name](x.double()).float(), computed(name, x)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=2e-6, equal_nan=True)
    if name in ("relu", "relu6", ""):
        assert torch.equal(got.nan_to_num(9.0), expected.nan_to_num(9.0))


@settings(max_examples=30, deadline=None)  # the first call compiles
@given(
    x=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40), name=st.sampled_from(list(ACTIVATIONS))
)
def test_activations_are_those_of_pytorch(x: list[float], name: str) -> None:
    values = torch.tensor(x)
    values = torch.cat([values, torch.zeros(64 - len(values))])
    # x times a function whose last bit may differ: 50 * 2^-23; a rounding may then go to the other neighbour.
    step = 2.0**-7 if name.endswith("/bfloat16") else 2e-6
    torch.testing.assert_close(computed(name, values), ACTIVATIONS[name](values), rtol=step, atol=6e-6)
