"""Faults planted in the emitted source of the linear kernel for 2:4: the emulation finds each of them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.emulation.faults import KernelFault
from l0compile.kernels.cuda.emulation.program import CudaProgram, cuda_program
from l0compile.kernels.cuda.linear.problem import CudaLinearProblem
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from l0compile.kernels.cuda.two_of_four.code import cuda_two_of_four_linear
from l0compile.kernels.cuda.two_of_four.problem import swapped_places, two_of_four_problem
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec
from tests.kernels.cuda.emulation.mutants import Mutant

TARGET = load_target("cuda-sm80")
# Rests of tokens, outputs and k, and more stages than places.
SPEC = CudaTwoOfFourSpec(104, 312, "float16", bias=True, residual=False, activation="")
SCHEDULE, TOKENS = CudaLinearSchedule(32, 64, 64, 2, 2, 3), 45

_MMA = r"(mma\.sp::ordered_metadata[.\w]* \{%0, %1, %2, %3\}, )"
_OPERANDS = _MMA + r"\{%4, %5, %6, %7\}, \{%8, %9, %10, %11\}"
MUTANTS = {
    "the selector of the first half": Mutant(r"%12, 0;", "%12, 1;"),
    "the selector of the second half": Mutant(r"%12, 1;", "%12, 0;"),
    "places of other outputs": Mutant(r"(ptx_mma_sp_float16_0\(.*, _ptr_\d+)\[0\]\)", r"\1[1])", 0),
    "places of rows in the other half": Mutant(r'"r"\(places\)', '"r"(places << 16 | places >> 16)'),
    "places of neighbouring groups": Mutant(
        r'"r"\(places\)', '"r"((places & 0x0f0f0f0fu) << 4 | (places >> 4 & 0x0f0f0f0fu))'
    ),
    "places that are none": Mutant(r'"r"\(places\)', '"r"(0u)'),
    "places of another lane": Mutant(r"(ptx_load_shared_uint32x1\(.*threadIdx\.x\)) & 3\)", r"\1 & 1)", 0),
    "the weight's rows swapped": Mutant(_OPERANDS, r"\1{%5, %4, %7, %6}, {%8, %9, %10, %11}"),
    "the weight's halves swapped": Mutant(_OPERANDS, r"\1{%6, %7, %4, %5}, {%8, %9, %10, %11}"),
    "halves of x swapped": Mutant(_OPERANDS, r"\1{%4, %5, %6, %7}, {%10, %11, %8, %9}"),
    "neighbours of x swapped": Mutant(_OPERANDS, r"\1{%4, %5, %6, %7}, {%9, %8, %11, %10}"),
    "x is transposed": Mutant(r"m8n8\.x4\.shared", "m8n8.x4.trans.shared"),
    "no wait for copies": Mutant(r"^    ptx_wait_group_1\(\);$", ";", 0),
    "a wait for one stage too few": Mutant(r"cp\.async\.wait_group 1;", "cp.async.wait_group 2;"),
    "no barrier before a stage is multiplied": Mutant(r"^    __syncthreads\(\);$", ";", 0),
    "the stage after is multiplied": Mutant(r"= \(v % 3\)", "= ((v + 1) % 3)"),
    "copies go to the stage before": Mutant(r"\(\(v \+ 2\) % 3\)", "((v + 1) % 3)"),
    "copies read what does not exist": Mutant(r"16, %2;", "16;"),
    "one token too few is written": Mutant(r"if \((_ptr_\d+\[0\]) < tokens\)", r"if (\1 < tokens - 1)"),
}


@cache
def subject() -> tuple[CudaProgram, CudaLinearProblem]:
    return cuda_program(cuda_two_of_four_linear(SPEC, TARGET, SCHEDULE), TARGET), two_of_four_problem(
        SPEC, TOKENS
    )


def wrong(source: str, problem: CudaLinearProblem) -> str:
    try:
        result = replace(subject()[0], source=source).run(problem.arrays, seconds=30)["y"]
    except KernelFault as fault:
        return f"{type(fault).__name__}: {fault}"
    error = problem.error(torch.from_numpy(result.astype(np.float64)))
    return "" if error < 1 else f"{error:.3g} times as far off as rounding allows"


def test_nothing_is_found_in_a_kernel_as_it_is_and_swapped_places_are() -> None:
    program, problem = subject()
    assert wrong(program.source, problem) == ""
    assert wrong(program.source, swapped_places(problem))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if i % 6 == 0 else pytest.mark.slow) for i, name in enumerate(MUTANTS)],
)
def test_a_planted_fault_is_found(name: str) -> None:
    program, problem = subject()
    found = wrong(MUTANTS[name].planted(program.source), problem)
    print(f"{name} | {found}")
    assert found
