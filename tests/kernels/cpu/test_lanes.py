"""Accuracy of the polynomial functions, over the whole range, against double precision."""

import math

import pytest
import torch

from l0compile.hardware._tvm import runtime, te, tvm, tvm_target
from l0compile.hardware.targets import load_target
from l0compile.kernels.cpu import lanes

REFERENCES = {
    "exp": (torch.exp, -80.0, 80.0),
    "erf": (torch.erf, -6.0, 6.0),
    "tanh": (torch.tanh, -20.0, 20.0),
    "sigmoid": (torch.sigmoid, -30.0, 30.0),
    "gelu": (torch.nn.functional.gelu, -10.0, 10.0),
}


def computed(name: str, x: torch.Tensor) -> torch.Tensor:
    a = te.placeholder((x.numel(),), "float32", name="a")
    b = te.compute(a.shape, lambda i: getattr(lanes, name)(a(i)), name="b")
    function = te.create_prim_func([a, b]).with_attr("global_symbol", "main")
    y = torch.empty_like(x)
    tvm.compile(function, target=tvm_target(load_target("native")))["main"](
        runtime.from_dlpack(x), runtime.from_dlpack(y)
    )
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
