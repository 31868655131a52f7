"""Accuracy of the polynomial functions, over the whole range, against double precision."""

import math

import pytest
import torch

from l0compile._tvm import runtime, te, tvm, tvm_target
from l0compile.kernels import lanes
from l0compile.targets import load_target

REFERENCES = {
    "exp": (torch.exp, -80.0, 80.0),
    "erf": (torch.erf, -6.0, 6.0),
    "tanh": (torch.tanh, -20.0, 20.0),
    "sigmoid": (torch.sigmoid, -30.0, 30.0),
    "gelu": (torch.nn.functional.gelu, -10.0, 10.0),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_accuracy(name: str) -> None:
    reference, low, high = REFERENCES[name]
    x = torch.linspace(low, high, 1 << 16)
    a = te.placeholder((x.numel(),), "float32", name="a")
    b = te.compute(a.shape, lambda i: getattr(lanes, name)(a(i)), name="b")
    function = te.create_prim_func([a, b]).with_attr("global_symbol", "main")
    y = torch.empty_like(x)
    tvm.compile(function, target=tvm_target(load_target("native")))["main"](
        runtime.from_dlpack(x), runtime.from_dlpack(y)
    )
    expected = reference(x.double())
    scale = expected.abs() if name == "exp" else expected.abs().clamp(min=1.0)
    assert ((y.double() - expected).abs() / scale).max() < (1.2e-6 if name == "gelu" else 5e-7)
    assert not math.isnan(float(y.sum()))
