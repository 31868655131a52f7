"""Faults planted in the emitted source of the linear kernels: the emulation finds each of them."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch

from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.emulation.faults import KernelFault
from l0compile.kernels.cuda.emulation.program import CudaProgram, cuda_program
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.problem import CudaLinearProblem, cuda_linear_problem
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule, CudaLinearSpec
from tests.kernels.cuda.emulation.mutants import OF_EACH

TARGET = replace(load_target("cuda-sm80"), cores=2)
QUICK = 12  # of them; the others are slow together, since each is compiled


@dataclass(frozen=True)
class Subject:
    """A kernel that faults are planted in."""

    program: CudaProgram
    problem: CudaLinearProblem

    def wrong(self, source: str) -> str:
        """What is found wrong with ``source``; "" for nothing."""
        try:
            result = replace(self.program, source=source).run(self.problem.arrays, seconds=30)["y"]
        except KernelFault as fault:
            return f"{type(fault).__name__}: {fault}"
        error = self.problem.error(torch.from_numpy(result.astype(np.float64)))
        return "" if error < 1 else f"{error:.3g} times as far off as rounding allows"


def _linear(n: int, k: int, block: tuple[int, int], dtype: str = "float16", **given: bool) -> CudaLinearSpec:
    more = {"bias": True, "residual": False, "order": False, **given}
    activation = "relu" if more["residual"] else ""
    return CudaLinearSpec(n, k, *block, dtype, activation=activation, **more)


# Sizes leave rests everywhere: of tokens, of outputs, of blocks and k in a stage; there are more stages than places.
SUBJECTS = {
    "sparse": (_linear(128, 208, (32, 16)), CudaLinearSchedule(64, 32, 32, 2, 1, 3), 75),
    "dense": (_linear(72, 88, (0, 0), residual=True), CudaLinearSchedule(32, 32, 32, 2, 1, 3), 37),
    "split": (_linear(32, 128, (0, 0)), CudaLinearSchedule(16, 32, 32, 1, 2, 2, splits=2), 13),
    "resident": (
        _linear(96, 96, (32, 32), order=True),
        CudaLinearSchedule(32, 32, 32, 2, 1, 2, resident=1),
        75,
    ),
    "tf32": (_linear(64, 96, (32, 32), "float32", tf32=True), CudaLinearSchedule(32, 32, 16, 2, 1, 3), 40),
    "multiply-add": (_linear(48, 40, (0, 0), "float32"), CudaLinearSchedule(32, 32, 16, 2, 1, 3), 40),
}


@cache
def subject(name: str) -> Subject:
    spec, schedule, tokens = SUBJECTS[name]
    return Subject(
        cuda_program(cuda_linear(spec, TARGET, schedule), TARGET), cuda_linear_problem(spec, tokens)
    )


PLANTED = [(kernel, name) for kernel, mutants in OF_EACH.items() for name in mutants]


@pytest.mark.parametrize("kernel", SUBJECTS)
def test_nothing_is_found_in_a_kernel_as_it_is(kernel: str) -> None:
    assert subject(kernel).wrong(subject(kernel).program.source) == ""


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        pytest.param(*one, marks=[] if number % (len(PLANTED) // QUICK) == 0 else pytest.mark.slow)
        for number, one in enumerate(PLANTED)
    ],
)
def test_a_planted_fault_is_found(kernel: str, name: str) -> None:
    one = subject(kernel)
    found = one.wrong(OF_EACH[kernel][name].planted(one.program.source))
    print(f"{kernel} | {name} | {found}")
    assert found


def test_there_are_enough_of_them() -> None:
    assert len(PLANTED) >= 40
