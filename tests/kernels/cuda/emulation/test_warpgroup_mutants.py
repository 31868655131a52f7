"""Faults planted in linear kernels that multiply by warpgroups: the emulation finds each of them."""

from functools import cache

import pytest

from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.emulation.program import cuda_program
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.problem import cuda_linear_problem
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule, CudaLinearSpec
from tests.kernels.cuda.emulation.test_mutants import Subject
from tests.kernels.cuda.emulation.warpgroup_mutants import OF_WARPGROUPS, SPARSE

TARGET = load_target("cuda-sm90")
QUICK = ("writes are not shown to products",)  # each is compiled

# Sizes leave rests of tokens, outputs and k; rows of the dense layer are copied through registers.
SUBJECTS = {
    "sparse": (CudaLinearSpec(128, 208, 64, 16, "float16", True, False, False, ""), (128, 64, 32, 8), 75),
    "wide": (CudaLinearSpec(128, 96, 128, 16, "bfloat16", True, False, False, ""), (64, 128, 32, 4), 70),
    "dense": (CudaLinearSpec(72, 135, 0, 0, "float16", True, False, False, ""), (64, 64, 64, 4), 37),
}


@cache
def subject(name: str) -> Subject:
    spec, (tokens, outputs, depth, warps), rows = SUBJECTS[name]
    schedule = CudaLinearSchedule(tokens, outputs, depth, warps, 1, 3, warpgroups=True)
    program = cuda_program(cuda_linear(spec, TARGET, schedule), TARGET)
    return Subject(program, cuda_linear_problem(spec, rows, density=0.8))


@pytest.mark.parametrize(
    "kernel", ["sparse", *(pytest.param(name, marks=pytest.mark.slow) for name in ("wide", "dense"))]
)
def test_nothing_is_found_in_a_kernel_as_it_is(kernel: str) -> None:
    assert subject(kernel).wrong(subject(kernel).program.source) == ""


@pytest.mark.slow
def test_the_warpgroup_may_show_what_others_wrote() -> None:
    """PTX orders writes and products by a fence on the way from one to the other, on either side of the barrier."""
    source = subject("sparse").program.source
    here, there = (
        "    ptx_wgmma_show_writes();\n    __syncthreads();\n",
        "    __syncthreads();\n    ptx_wgmma_show_writes();\n",
    )
    assert here in source and subject("sparse").wrong(source.replace(here, there)) == ""


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        pytest.param(kernel, name, marks=[] if name in QUICK and kernel == "sparse" else pytest.mark.slow)
        for kernel, mutants in OF_WARPGROUPS.items()
        for name in mutants
    ],
)
def test_a_planted_fault_is_found(kernel: str, name: str) -> None:
    one = subject(kernel)
    found = one.wrong(OF_WARPGROUPS[kernel][name].planted(one.program.source))
    print(f"{kernel} | {name} | {found}")
    assert found


def test_there_are_enough_of_them() -> None:
    assert len(SPARSE) >= 30
