"""Sizes from floating-point arithmetic become integer arithmetic, proven or checked at each call."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim
from torch.utils._sympy.functions import CeilToInt, FloatTrueDiv, FloorToInt, IntTrueDiv, ToFloat, TruncToInt

import l0compile as l0
from l0compile.errors import CaptureError, InputError
from l0compile.frontend.export import capture
from l0compile.ir.integral_sizes import integral, uncertain

N = sympy.Symbol("n", integer=True, positive=True)
M = sympy.Symbol("m", integer=True, positive=True)
ROUND = {TruncToInt: math.trunc, FloorToInt: math.floor, CeilToInt: math.ceil}


def value(expression: Any, n: int, m: int = 1) -> int:
    return int(integral(expression).subs({N: n, M: m}))


@given(
    st.sampled_from(list(ROUND)),
    st.integers(1, 2**40),
    st.integers(1, 50),
    st.sampled_from([0.5, 0.25, 1.5, 2.0, 0.75, 3.125]),
)
def test_what_is_proven_equals_floating_point(rounding: Any, n: int, by: int, factor: float) -> None:
    quotient, scaled = rounding(IntTrueDiv(N, by)), rounding(factor * ToFloat(N))
    assert not uncertain(quotient) and not uncertain(scaled)
    assert value(quotient, n) == ROUND[rounding](n / by)
    assert value(scaled, n) == ROUND[rounding](factor * float(n))


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([1, 2, 4, 8, 16]))
def test_a_quotient_of_exact_numbers_is_proven(n: int, m: int, window: int) -> None:
    windows = FloatTrueDiv(ToFloat(16 * N * M), FloatTrueDiv(IntTrueDiv(16 * M, window), float(window)))
    assert not uncertain(TruncToInt(windows))
    assert value(TruncToInt(windows), n, m) == int(16 * n * m / (16 * m / window / window))


def test_what_rounding_may_change_is_named() -> None:
    for expression in (TruncToInt(0.29 * ToFloat(N)), TruncToInt(FloatTrueDiv(IntTrueDiv(N, 7), 7.0))):
        assert uncertain(expression) == [expression]
    assert value(TruncToInt(0.29 * ToFloat(N)), 100) == 29 != int(0.29 * 100)


def test_what_has_no_integer_form_stays() -> None:
    irrational = TruncToInt(math.pi * ToFloat(N))
    assert integral(irrational) == irrational and not uncertain(irrational)
    assert integral(TruncToInt(ToFloat(N - 5))) == TruncToInt(ToFloat(N - 5))  # may be negative


class Sized(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x))


def windows(x: Tensor) -> Tensor:
    """Windows of 4x4 and back, the batch found by dividing: as in Swin."""
    b, h, w, c = x.shape
    parts = x.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, c)
    back = int(parts.shape[0] / (h * w / 4 / 4))
    return parts.view(back, h // 4, w // 4, 4, 4, -1).permute(0, 1, 3, 2, 4, 5).reshape(back, h, w, -1) * 2


def scaled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=1.5, mode="nearest")


CASES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], Any, tuple[int, ...]]] = {
    "len": (lambda x: torch.cat([x.new_ones(1, 1, 4).expand(len(x), 1, -1), x], 1), (3, 5, 4), {0: "b"}, (7, 5, 4)),
    "int": (lambda x: x[:, : int(x.shape[1] * 0.5)], (2, 8, 4), {1: "n"}, (2, 13, 4)),
    "ceil": (lambda x: x[:, : math.ceil(x.shape[1] / 3)], (2, 8, 4), {1: "n"}, (2, 13, 4)),
    "sqrt": (lambda x: x / math.sqrt(x.shape[1]), (2, 8, 4), {1: "n"}, (2, 13, 4)),
    "windows": (windows, (2, 8, 12, 4), {0: "b"}, (5, 8, 12, 4)),
    "derived": (windows, (2, 8, 12, 4), {0: "b", 1: 4 * Dim("h"), 2: 4 * Dim("w")}, (3, 16, 8, 4)),
    "interpolate": (scaled, (1, 3, 6, 4), {2: "h"}, (1, 3, 9, 4)),
    "interpolate down": (
        lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"), (1, 3, 8, 4), {2: "h"}, (1, 3, 11, 4)
    ),
}  # fmt: skip


SLOW = {"derived"}  # PyTorch simplifies its sizes for ten seconds


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES])
def test_dynamic_sizes_stay_dynamic(name: str) -> None:
    function, shape, dynamic, other = CASES[name]
    model = Sized(function).eval()
    program = capture(model, (torch.randn(shape),), dynamic_shapes={"x": dynamic})
    for sizes in (shape, other):
        x = torch.randn(sizes)
        with torch.no_grad():
            expected = model(x)
        torch.testing.assert_close(program.run(x), expected)


@pytest.mark.parametrize("name", ["int", "sqrt", "windows", "derived"])
def test_they_compile_and_load(name: str, tmp_path: Any) -> None:
    function, shape, dynamic, other = CASES[name]
    model = Sized(function).eval()
    compiled = l0.compile(model, (torch.randn(shape),), dynamic_shapes={"x": dynamic}, engine="tvm")
    compiled.save(tmp_path / "model")
    x = torch.randn(other)
    with torch.no_grad():
        expected = model(x)
    for call in (compiled, l0.load(tmp_path / "model")):
        torch.testing.assert_close(call(x), expected, rtol=1e-4, atol=1e-5)


def test_a_size_that_rounding_changes_is_refused_at_the_call() -> None:
    model = Sized(lambda x: x[:, : int(x.shape[1] * 0.29)]).eval()
    compiled = l0.compile(model, (torch.randn(1, 50, 4),), dynamic_shapes={"x": {1: "n"}}, engine="torch")
    for n in (50, 99, 101):
        assert compiled(torch.randn(1, n, 4)).shape[1] == int(n * 0.29)
    with pytest.raises(InputError, match=r"n = 100"):
        compiled(torch.randn(1, 100, 4))


def test_a_size_that_depends_on_values_is_computed_at_each_call() -> None:
    model = Sized(lambda x: x[: int(x[0, 0].abs().item() * 10)]).eval()
    x = torch.randn(9, 4)
    compiled = l0.compile(model, (x,), engine="tvm")
    for factor in (1, 0, 3, -2, 100):
        with torch.no_grad():
            expected = model(x * factor)
        torch.testing.assert_close(compiled(x * factor), expected, rtol=1e-4, atol=1e-5)


def test_a_loop_over_a_dynamic_batch_is_refused_by_the_line() -> None:
    model = Sized(lambda x: torch.stack([row.sum(0) for row in x])).eval()
    with pytest.raises(CaptureError, match=r"drop it from dynamic_shapes"):
        capture(model, (torch.randn(2, 3, 4),), dynamic_shapes={"x": {0: "b"}})
