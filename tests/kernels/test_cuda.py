"""The CUDA kernel as far as it can be checked without a GPU: it compiles, and refuses what it cannot compute."""

import shutil

import pytest

from l0compile.errors import BuildError, TargetError
from l0compile.hardware._tvm import te
from l0compile.hardware.targets import load_target
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.cuda.bsr_linear import bsr_linear
from l0compile.kernels.cuda.cubin import cubin, cuda_source

SPEC = LinearSpec(64, 32, 4, 4, dense=False, bias=True, residual=False, activation="")


@pytest.mark.parametrize("name", ["cuda-sm80", "cuda-sm90"])
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (CUDA toolkit) is not on PATH")
def test_compiles_to_a_cubin(name: str) -> None:
    target = load_target(name)
    source = cuda_source(bsr_linear(SPEC), target)
    assert "__global__" in source
    assert cubin(source, target)[:4] == b"\x7fELF"


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (CUDA toolkit) is not on PATH")
def test_nvcc_errors_are_shown() -> None:
    with pytest.raises(BuildError, match="nvcc refused"):
        cubin("not C++", load_target("cuda-sm80"))


def test_a_loop_on_the_host_is_no_kernel() -> None:
    x = te.placeholder((64,), "float32", "x")
    unscheduled = te.create_prim_func([x, te.compute((64,), lambda i: x[i] + 1.0, "y")])
    with pytest.raises(BuildError, match="expected a kernel, got a loop on the host"):
        cuda_source(unscheduled, load_target("cuda-sm80"))


def test_refusals() -> None:
    with pytest.raises(BuildError, match="no epilogue"):
        bsr_linear(LinearSpec(64, 32, 4, 4, dense=False, bias=True, residual=False, activation="gelu"))
    with pytest.raises(TargetError, match="expected a CUDA target"):
        cuda_source(bsr_linear(SPEC), load_target("x86-64-avx2"))
