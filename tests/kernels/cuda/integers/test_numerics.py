"""Linear kernels of 8-bit integers, run by the emulation: the numbers of the oracle, bit by bit."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.hardware.targets import Target, load_target
from l0compile.ir.ops.activation import ACTIVATIONS
from l0compile.ir.ops.rows.integers import rows_quantize
from l0compile.kernels.cuda.emulation.kernel import ORDERS
from l0compile.kernels.cuda.emulation.run import emulate
from l0compile.kernels.cuda.integers.code import cuda_int8_linear
from l0compile.kernels.cuda.integers.problem import CudaIntegerProblem, cuda_integer_problem
from l0compile.kernels.cuda.integers.quantize import CudaQuantizeSpec, cuda_quantize
from l0compile.kernels.cuda.integers.schedules import default_integer_schedule, legal_integer_schedules
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec

SM80 = load_target("cuda-sm80")
SM75 = load_target("cuda-sm75")
DENSE = (0, 0)
BLOCKS = ((16, 16), (32, 32), (64, 64), (128, 64), (128, 128), (48, 16))


def layer(
    n: int, words: int, block: tuple[int, int], activation: str = "", **more: Any
) -> CudaIntegerLinearSpec:
    given = {"bias": True, "residual": False, "order": block != DENSE, **more}
    return CudaIntegerLinearSpec(n, words, block[0], block[1] // 16, activation=activation, **given)


def check(
    spec: CudaIntegerLinearSpec, tokens: int, target: Target = SM80, orders: Any = ORDERS, **changed: int
) -> None:
    problem = cuda_integer_problem(spec, tokens, features=4 * spec.words - 1)
    schedule = replace(default_integer_schedule(spec, target), **changed)
    assert computed(problem, tokens, target, schedule, orders) == ""


def computed(problem: CudaIntegerProblem, tokens: int, target: Target, schedule: Any, orders: Any) -> str:
    function = cuda_int8_linear(problem.spec, target, schedule)
    result = emulate(function, target, problem.arrays, {"tokens": tokens}, orders)["y"]
    return problem.wrong(torch.from_numpy(result))


DEFAULTS = (
    (layer(72, 33, (16, 16), "gelu", residual=True), 37),
    (layer(132, 40, DENSE, "relu", residual=True, zero_point=255), 130),
    (layer(70, 25, DENSE), 37),  # odd rows everywhere: single words are copied, single numbers written
    (layer(150, 40, (64, 64), bias=False, zero_point=None, order=False), 131),
    (layer(156, 36, (48, 16), zero_point=0), 20),
)


@pytest.mark.parametrize(
    ("spec", "tokens"),
    [pytest.param(*one, marks=[pytest.mark.slow] * (number > 1)) for number, one in enumerate(DEFAULTS)],
    ids=str,
)
def test_default_schedules(spec: CudaIntegerLinearSpec, tokens: int) -> None:
    check(spec, tokens)


@pytest.mark.parametrize("block", [pytest.param(DENSE, marks=pytest.mark.slow), (32, 32)], ids=str)
def test_instructions_of_turing(block: tuple[int, int]) -> None:
    check(layer(68, 28, block, residual=True, zero_point=100), 21, SM75)


@pytest.mark.parametrize("block", [pytest.param(DENSE, marks=pytest.mark.slow), (32, 32)], ids=str)
def test_few_tokens(block: tuple[int, int]) -> None:
    """Warps share k, and so can thread blocks; more tokens than expected are right as well."""
    spec = layer(70, 152, block, residual=True, few=True)
    check(spec, 18)
    check(spec, 1, splits=4)


def test_the_largest_sums_are_exact() -> None:
    """Each product is the largest, on both sides; no bit is lost until the sum becomes a float."""
    spec = layer(16, 300, DENSE, bias=False)
    problem = cuda_integer_problem(spec, 3)
    x, data = problem.arrays["x"], problem.arrays["data"]
    x.fill_(-1)  # 255 in each byte
    data.view(torch.int8)[0::2] = 127
    data.view(torch.int8)[1::2] = -127
    arrays = {**problem.arrays, "start": torch.full((16,), 77, dtype=torch.int32), "scale": torch.ones(16)}
    one = CudaIntegerProblem(spec, arrays)
    assert one.expected[0, :2].tolist() == torch.tensor([38862077, 77 - 38862000]).float().tolist()
    assert computed(one, 3, SM80, None, ORDERS[:1]) == ""


@pytest.mark.slow
def test_thread_blocks_that_compute_several_tiles() -> None:
    check(layer(70, 16, (16, 16)), 300, replace(SM80, cores=2), resident=2)


def test_no_tokens() -> None:
    spec = layer(72, 16, (16, 16), zero_point=3)
    arrays = cuda_integer_problem(spec, 0).arrays
    result = emulate(cuda_int8_linear(spec, SM80), SM80, arrays, {"tokens": 0})
    assert result["y"].shape == (0, 18)


@pytest.mark.parametrize("features", [64, 33, 3])
def test_rounding_to_words(features: int) -> None:
    """Ties go to even; infinities and NaN have a level, too."""
    x = torch.randn(7, features) * 100
    x[1], x[0, :3] = torch.arange(features) + 0.5, torch.tensor([torch.nan, torch.inf, -torch.inf])
    inverse = torch.rand(features) + 0.5
    inverse[: features // 2] = 1.0
    function = cuda_quantize(CudaQuantizeSpec(features, 128), SM80)
    result = emulate(function, SM80, {"x": x, "inverse": inverse})["y"]
    assert torch.equal(torch.from_numpy(result), rows_quantize(x, inverse, 128))


@pytest.mark.slow
@pytest.mark.parametrize(("block", "target"), list(product((DENSE, *BLOCKS), (SM80, SM75))), ids=str)
def test_blocks_and_architectures(block: tuple[int, int], target: Target) -> None:
    for n, words, tokens, zero_point in ((144, 34, 140, 7), (83, 19, 5, None)):
        check(layer(n, words, block, residual=True, zero_point=zero_point), tokens, target, ORDERS[:1])


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 150), st.integers(1, 40), st.integers(0, 140), st.sampled_from((DENSE, *BLOCKS)),
    st.sampled_from(sorted(ACTIVATIONS)), st.tuples(*[st.booleans()] * 5),
)  # fmt: skip
def test_random_layers(
    n: int, words: int, tokens: int, block: tuple[int, int], activation: str, flags: tuple[bool, ...]
) -> None:
    bias, residual, order, few, rounds = flags
    n, zero_point = (4 * n, 99) if rounds else (n, None)
    more = {"bias": bias, "residual": residual, "order": order and block != DENSE, "few": few}
    check(layer(n, words, block, activation, zero_point=zero_point, **more), tokens, SM80, ORDERS[:1])


@pytest.mark.slow
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("block", [DENSE, (64, 64)], ids=str)
def test_legal_schedules(block: tuple[int, int], few: bool) -> None:
    spec = layer(72, 34, block, few=few)
    problem, legal = cuda_integer_problem(spec, 40), legal_integer_schedules(spec, SM80)
    for schedule in legal[:: max(1, len(legal) // 12)]:
        assert computed(problem, 40, SM80, schedule, ORDERS[:1]) == "", schedule
