"""Faults planted in the emitted source of the linear kernels of 8-bit integers: the emulation finds each of them."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.emulation.faults import KernelFault
from l0compile.kernels.cuda.emulation.program import CudaProgram, cuda_program
from l0compile.kernels.cuda.integers.code import cuda_int8_linear
from l0compile.kernels.cuda.integers.problem import CudaIntegerProblem, cuda_integer_problem
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from tests.kernels.cuda.integers.mutants import OF_EACH

TARGET = replace(load_target("cuda-sm80"), cores=2)
TURING = replace(load_target("cuda-sm75"), cores=2)
QUICK = 2  # of them; the others are slow together, since each is compiled

# Sizes leave rests everywhere, and there are more stages than places.
SUBJECTS = {
    "sparse": (CudaIntegerLinearSpec(128, 52, 32, 1, True, False, True, "", 77), (64, 32, 16, 2, 1, 3), 75),
    "dense": (CudaIntegerLinearSpec(72, 44, 0, 0, True, True, False, "relu"), (32, 32, 16, 2, 1, 3), 37),
    "turing": (CudaIntegerLinearSpec(64, 40, 32, 1, True, False, False, ""), (32, 32, 16, 2, 1, 2), 33),
    "split": (CudaIntegerLinearSpec(32, 64, 0, 0, True, False, False, ""), (16, 32, 16, 1, 2, 2, 1, 2), 13),
}


@cache
def subject(name: str) -> tuple[CudaProgram, CudaIntegerProblem]:
    spec, schedule, tokens = SUBJECTS[name]
    target = TURING if name == "turing" else TARGET
    problem = cuda_integer_problem(spec, tokens, features=4 * spec.words - 2)
    return cuda_program(cuda_int8_linear(spec, target, CudaLinearSchedule(*schedule)), target), problem


def wrong(name: str, source: str) -> str:
    """What is found wrong with ``source``; "" for nothing."""
    program, problem = subject(name)
    try:
        result = replace(program, source=source).run(problem.arrays, seconds=30)["y"]
    except KernelFault as fault:
        return f"{type(fault).__name__}: {fault}"
    return problem.wrong(torch.from_numpy(result))


PLANTED = [(kernel, name) for kernel, mutants in OF_EACH.items() for name in mutants]


@pytest.mark.parametrize("kernel", ["sparse", pytest.param("dense", marks=pytest.mark.slow)])
def test_nothing_is_found_in_a_kernel_as_it_is(kernel: str) -> None:
    assert wrong(kernel, subject(kernel)[0].source) == ""


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        pytest.param(*one, marks=[] if number % (len(PLANTED) // QUICK) == 0 else pytest.mark.slow)
        for number, one in enumerate(PLANTED)
    ],
)
def test_a_planted_fault_is_found(kernel: str, name: str) -> None:
    found = wrong(kernel, OF_EACH[kernel][name].planted(subject(kernel)[0].source))
    print(f"{kernel} | {name} | {found}")
    assert found


def test_there_are_enough_of_them() -> None:
    assert len(PLANTED) >= 30
