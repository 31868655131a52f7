"""From a function to CUDA source and a cubin, and what is refused."""

import pytest

from l0compile.errors import BuildError, TargetError
from l0compile.hardware._tvm import te
from l0compile.hardware.targets import list_targets, load_target
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec
from l0compile.kernels.cuda.toolchain import cubin, cuda_source, has_nvcc

SPEC = CudaLinearSpec(64, 32, 16, 4, "float16", bias=True, residual=False, order=False, activation="")


@pytest.mark.parametrize("name", [name for name in list_targets() if name.startswith("cuda")])
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is neither on PATH nor in a wheel")
def test_compiles_to_a_cubin(name: str) -> None:
    target = load_target(name)
    source = cuda_source(cuda_linear(SPEC, target), target)
    assert "__global__" in source
    assert cubin(source, target)[:4] == b"\x7fELF"


@pytest.mark.skipif(not has_nvcc(), reason="nvcc is neither on PATH nor in a wheel")
def test_nvcc_errors_are_shown() -> None:
    with pytest.raises(BuildError, match="nvcc refused"):
        cubin("not C++", load_target("cuda-sm80"))


def test_a_loop_on_the_host_is_no_kernel() -> None:
    x = te.placeholder((64,), "float32", "x")
    unscheduled = te.create_prim_func([x, te.compute((64,), lambda i: x[i] + 1.0, "y")])
    with pytest.raises(BuildError, match="expected a kernel, got a loop on the host"):
        cuda_source(unscheduled, load_target("cuda-sm80"))


def test_a_target_that_is_no_gpu_is_refused() -> None:
    target = load_target("cuda-sm80")
    with pytest.raises(TargetError, match="expected a CUDA target"):
        cuda_source(cuda_linear(SPEC, target), load_target("x86-64-avx2"))
