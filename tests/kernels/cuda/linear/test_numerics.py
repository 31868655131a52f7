"""Linear kernels of CUDA, run by the emulation, against float64: every path of the code in a few cases."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.hardware.targets import Target, load_target
from l0compile.ir.ops.activation import ACTIVATIONS
from l0compile.kernels.cuda.emulation.kernel import ORDERS
from l0compile.kernels.cuda.emulation.run import emulate
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.problem import cuda_linear_problem
from l0compile.kernels.cuda.linear.schedules import default_schedule, legal_schedules
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule, CudaLinearSpec

SM80 = load_target("cuda-sm80")
SM75 = load_target("cuda-sm75")

DENSE = (0, 0)
BLOCKS = ((16, 16), (32, 32), (64, 64), (128, 64), (128, 128), (16, 1), (64, 1), (32, 4))
TYPES = ("float16", "bfloat16", "float32", "tf32")


def layer(
    n: int, k: int, block: tuple[int, int], dtype: str, activation: str = "", **more: bool
) -> CudaLinearSpec:
    given = {"bias": True, "residual": False, "order": False, **more}
    real = "float32" if dtype == "tf32" else dtype
    return CudaLinearSpec(n, k, *block, real, activation=activation, tf32=dtype == "tf32", **given)


def check(
    spec: CudaLinearSpec, tokens: int, target: Target = SM80, orders: Any = ORDERS, **changed: int
) -> None:
    schedule = replace(default_schedule(spec, target), **changed)
    check_schedule_of(spec, tokens, target, schedule, orders)


def check_schedule_of(
    spec: CudaLinearSpec, tokens: int, target: Target, schedule: CudaLinearSchedule, orders: Any
) -> None:
    problem = cuda_linear_problem(spec, tokens)
    function = cuda_linear(spec, target, schedule)
    result = emulate(function, target, problem.arrays, {"tokens": tokens}, orders)["y"]
    assert problem.error(torch.from_numpy(np.asarray(result, np.float64))) < 1


@pytest.mark.parametrize(
    ("spec", "tokens"),
    [
        (layer(70, 100, (16, 16), "bfloat16", "gelu", residual=True), 37),
        (layer(150, 200, (64, 64), "float16", order=True), 131),
        (layer(150, 72, (128, 128), "float32"), 20),
        (layer(72, 64, (64, 64), "tf32", bias=False), 33),
        (layer(80, 67, (32, 1), "float16", "silu"), 17),  # gathered numbers go through registers
        (layer(77, 51, DENSE, "bfloat16", residual=True), 33),  # no two numbers can be copied at once
        (layer(134, 44, DENSE, "float32", "hardswish"), 9),
        (layer(72, 40, DENSE, "tf32"), 130),
    ],
    ids=str,
)
def test_default_schedules(spec: CudaLinearSpec, tokens: int) -> None:
    check(spec, tokens)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_without_asynchronous_copies(dtype: str) -> None:
    check(layer(70, 100, (32, 32), dtype, residual=True), 21, SM75)


@pytest.mark.parametrize("block", [DENSE, (32, 32)], ids=str)
def test_few_tokens(block: tuple[int, int]) -> None:
    """Warps share k, and so can thread blocks; more tokens than expected are right as well."""
    spec = layer(70, 304, block, "float16", "gelu", residual=True, few=True)
    check(spec, 18)
    check(spec, 1, splits=4)


def test_thread_blocks_that_compute_several_tiles() -> None:
    check(layer(70, 64, (16, 16), "float16"), 300, replace(SM80, cores=2), resident=2)


def test_no_tokens() -> None:
    spec = layer(70, 64, (16, 16), "float16")
    result = emulate(cuda_linear(spec, SM80), SM80, cuda_linear_problem(spec, 0).arrays, {"tokens": 0})
    assert result["y"].shape == (0, 70)


def test_nan_stays_nan() -> None:
    spec = layer(16, 16, DENSE, "float32", "relu")
    problem = cuda_linear_problem(spec, 2)
    problem.arrays["x"][0, 3] = torch.nan
    result = emulate(cuda_linear(spec, SM80), SM80, problem.arrays)["y"]
    assert np.isnan(result[0]).all() and not np.isnan(result[1]).any()


@pytest.mark.slow
@pytest.mark.parametrize(("block", "dtype"), list(product((DENSE, *BLOCKS), TYPES)), ids=str)
def test_blocks_and_types(block: tuple[int, int], dtype: str) -> None:
    for (n, k, tokens), target in product(((80, 136, 40), (83, 75, 5)), (SM80, SM75)):
        if target is SM80 or dtype in ("float16", "float32"):
            check(layer(n, k, block, dtype, "gelu_tanh", residual=True), tokens, target, ORDERS[:1])


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 150), st.integers(1, 150), st.integers(0, 140), st.sampled_from((DENSE, *BLOCKS)),
    st.sampled_from(TYPES), st.sampled_from(sorted(ACTIVATIONS)), st.tuples(*[st.booleans()] * 4),
)  # fmt: skip
def test_random_layers(
    n: int, k: int, tokens: int, block: tuple[int, int], dtype: str, activation: str, flags: tuple[bool, ...]
) -> None:
    bias, residual, order, few = flags
    more = {"bias": bias, "residual": residual, "order": order and block != DENSE, "few": few}
    check(layer(n, k, block, dtype, activation, **more), tokens, SM80, ORDERS[:1])


@pytest.mark.slow
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("block", [DENSE, (64, 64)], ids=str)
def test_legal_schedules(block: tuple[int, int], few: bool) -> None:
    spec = layer(72, 136, block, "float16", few=few)
    legal = legal_schedules(spec, SM80)
    for schedule in legal[:: max(1, len(legal) // 12)]:
        check_schedule_of(spec, 40, SM80, schedule, ORDERS[:1])
