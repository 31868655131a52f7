"""The linear kernel for 2:4, run by the emulation, against float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.targets import Target, load_target
from l0compile.ir.ops.activation import ACTIVATIONS
from l0compile.kernels.cuda.emulation.kernel import ORDERS
from l0compile.kernels.cuda.emulation.run import emulate
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from l0compile.kernels.cuda.two_of_four.code import cuda_two_of_four_linear
from l0compile.kernels.cuda.two_of_four.problem import two_of_four_problem
from l0compile.kernels.cuda.two_of_four.schedules import legal_two_of_four_schedules
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec

SM80, SM90 = load_target("cuda-sm80"), load_target("cuda-sm90")


def layer(
    n: int, k: int, dtype: str, activation: str = "", *, bias: bool = True, residual: bool = False, few: bool = False
) -> CudaTwoOfFourSpec:  # fmt: skip
    return CudaTwoOfFourSpec(n, k, dtype, bias, residual, activation, few)


def check(
    spec: CudaTwoOfFourSpec, tokens: int, target: Target = SM80, schedule: CudaLinearSchedule | None = None
) -> None:
    problem = two_of_four_problem(spec, tokens)
    function = cuda_two_of_four_linear(spec, target, schedule)
    result = emulate(function, target, problem.arrays, {"tokens": tokens}, ORDERS[:1])["y"]
    assert problem.error(torch.from_numpy(np.asarray(result, np.float64))) < 1


@pytest.mark.parametrize(
    ("spec", "tokens"),
    [
        (layer(72, 88, "float16", "relu", residual=True), 37),
        (layer(150, 200, "bfloat16", "gelu"), 131),
        (layer(70, 51, "float16", bias=False), 33),  # no two numbers of x can be copied at once
        (layer(70, 304, "bfloat16", "silu", residual=True, few=True), 18),
        (layer(16, 64, "float16"), 0),
    ],
    ids=str,
)
def test_default_schedules(spec: CudaTwoOfFourSpec, tokens: int) -> None:
    check(spec, tokens)


def test_the_largest_of_many_tokens_on_hopper() -> None:
    check(layer(200, 136, "bfloat16"), 150, SM90)


@pytest.mark.slow
@pytest.mark.parametrize("few", [False, True])
def test_legal_schedules(few: bool) -> None:
    spec = layer(72, 136, "float16", few=few)
    for schedule in legal_two_of_four_schedules(spec, SM80):
        check(spec, 40, SM80, schedule)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 150), st.integers(1, 200), st.integers(0, 140), st.sampled_from(("float16", "bfloat16")),
    st.sampled_from(sorted(ACTIVATIONS)), st.tuples(*[st.booleans()] * 3),
)  # fmt: skip
def test_random_layers(
    n: int, k: int, tokens: int, dtype: str, activation: str, flags: tuple[bool, ...]
) -> None:
    bias, residual, few = flags
    check(layer(n, k, dtype, activation, bias=bias, residual=residual, few=few), tokens)


def test_what_does_not_fit_is_refused() -> None:
    spec = layer(64, 64, "float16")
    with pytest.raises(BuildError, match="expected sm_80 or later"):
        cuda_two_of_four_linear(spec, load_target("cuda-sm75"))
    usual = CudaLinearSchedule(64, 64, 64, 2, 2, 2)
    for changed, said in (
        ({"depth": 32}, "64 columns a slice"),
        ({"tokens": 16}, "16 tokens and 16 outputs a warp"),
        ({"splits": 2}, "k in one part"),
        (
            {"tokens": 512, "outputs": 512, "stages": 4, "token_warps": 4, "output_warps": 4},
            "bytes of stages",
        ),
    ):
        with pytest.raises(ScheduleError, match=said):
            cuda_two_of_four_linear(spec, SM80, replace(usual, **changed))
