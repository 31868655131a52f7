"""Rotary embedding of CUDA, executed by the emulation, against its operator."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from l0compile.errors import BuildError
from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.emulation.faults import KernelFault
from l0compile.kernels.cuda.emulation.program import CudaProgram, cuda_program
from l0compile.kernels.cuda.rope import CudaRopeSpec, cuda_rope
from tests.kernels.cuda.emulation.mutants import Mutant

SM80 = load_target("cuda-sm80")
# (batch, tokens): more pairs than one thread block has threads, and a rest.
CASES = [
    (CudaRopeSpec(3, 64, "float16"), (2, 35), "cuda-sm80"),
    (CudaRopeSpec(2, 64, "bfloat16", shared=False), (2, 5), "cuda-sm90"),
    (CudaRopeSpec(2, 12, "float16", interleaved=True), (3, 5), "cuda-sm75"),
    (CudaRopeSpec(1, 64, "bfloat16", interleaved=True, shared=False), (2, 3), "cuda-sm80"),
    (CudaRopeSpec(5, 6, "float32"), (2, 33), "cuda-sm80"),
    (CudaRopeSpec(2, 128, "float32", interleaved=True), (1, 7), "cuda-sm80"),
]


def operands(spec: CudaRopeSpec, batch: int, tokens: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    kind, angles = getattr(torch, spec.dtype), spec.half if spec.interleaved else spec.dim
    # Real angles would have the same ones in both halves of a head; the operator takes any.
    cos, sin = (torch.randn(1 if spec.shared else batch, tokens, angles).to(kind) for _ in range(2))
    return {"x": torch.randn(batch, tokens, spec.heads * spec.dim).to(kind), "cos": cos, "sin": sin}


def wrong(program: CudaProgram, spec: CudaRopeSpec, given: dict[str, torch.Tensor]) -> str:
    """What is found wrong; "" for nothing. Narrow numbers have to be the operator's own, bit by bit."""
    try:
        found = np.asarray(program.run(given)["y"], np.float64)
    except KernelFault as fault:
        return str(fault) or type(fault).__name__
    expected = torch.ops.l0compile.rope(*given.values(), spec.heads, spec.interleaved).double().numpy()
    # Of float32 the compiler may round a product and a sum once.
    gap = np.abs(found - expected).max() / np.abs(expected).max()
    return "" if gap <= (2e-7 if spec.dtype == "float32" else 0.0) else f"off by {gap:.3g}"


@pytest.mark.parametrize(
    ("spec", "sizes", "target"),
    [pytest.param(*case, marks=[] if case in CASES[:3] else pytest.mark.slow) for case in CASES],
    ids=str,
)
def test_rope_is_what_its_operator_is(spec: CudaRopeSpec, sizes: tuple[int, int], target: str) -> None:
    machine = load_target(target)
    assert wrong(cuda_program(cuda_rope(spec, machine), machine), spec, operands(spec, *sizes)) == ""


# What they are called is a pattern of the source, what it becomes, and the number of the place.
QUICK = ("a product is not rounded", "one item too many")  # the others are slow together
MUTANTS = {
    "the wrong sign": (r"(_ptr_\d+\[0\]) - (_ptr_\d+\[0\])\)", r"\1 + \2)", 0),
    "a product is not rounded": (r"ptx_from_float16\(ptx_to_float16\((\(.*?\))\)\)", r"\1", 2),
    "a sine for a cosine": (r"(_ptr_\d+\[1\] \* )_ptr_(\d+)\[1\]", r"\1_ptr_\2[0]", 0),
    "the halves of the result swapped": (r"(ptx_store_.*?)\) \+ \(int64_t\)32\)\]", r"\1) + (int64_t)0)]", 0),
    "the same sequence for all": (r"_ptr_2\[0\] \* tokens", "0 * tokens", 0),
    "one item too many": (r"< \(cse_v1 \* \(int64_t\)12\)", "<= (cse_v1 * (int64_t)12)", 0),
    "one item too few": (r"< \(cse_v1 \* \(int64_t\)12\)", "< (cse_v1 * (int64_t)12 - 1)", 0),
    "the wrong head": (r"\* \(int64_t\)64\)", "* (int64_t)32)", 0),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MUTANTS]
)
def test_faults_planted_in_the_source_are_found(name: str) -> None:
    spec, sizes, _ = CASES[0]
    program = cuda_program(cuda_rope(spec, SM80), SM80)
    planted = Mutant(*MUTANTS[name]).planted(program.source)
    assert wrong(replace(program, source=planted), spec, operands(spec, *sizes))


def test_bfloat16_is_refused_where_nothing_converts_it() -> None:
    with pytest.raises(BuildError, match="expected sm_80 or later for bfloat16, got sm_75"):
        cuda_rope(CudaRopeSpec(1, 8, "bfloat16"), load_target("cuda-sm75"))
