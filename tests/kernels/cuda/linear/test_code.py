"""What is in the source of CUDA's linear kernels."""

from dataclasses import replace

import pytest

from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.schedules import default_schedule
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec
from l0compile.kernels.cuda.toolchain import cuda_source

SM80 = load_target("cuda-sm80")
SM75 = load_target("cuda-sm75")
SPEC = CudaLinearSpec(96, 64, 32, 32, "float16", True, False, False, "")


@pytest.mark.parametrize(
    ("changed", "instruction"),
    [
        ({}, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"),
        ({"dtype": "bfloat16"}, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"),
        ({"dtype": "float32", "tf32": True}, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"),
    ],
)
def test_tensor_cores_and_asynchronous_copies(changed: dict[str, object], instruction: str) -> None:
    source = cuda_source(cuda_linear(replace(SPEC, **changed), SM80), SM80)
    assert instruction in source and "cp.async.cg.shared.global [%0], [%1], 16" in source
    assert "blockIdx.y" not in source  # a grid has 65,535 rows at most


def test_float32_is_not_rounded_unless_asked_for() -> None:
    source = cuda_source(cuda_linear(replace(SPEC, dtype="float32"), SM80), SM80)
    assert "mma.sync" not in source and "tf32" not in source


def test_turing_has_its_own_instructions() -> None:
    source = cuda_source(cuda_linear(SPEC, SM75), SM75)
    assert "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32" in source
    assert "cp.async" not in source and "x2.f32" not in source and "m16n8k16" not in source


def test_barriers_are_those_of_the_code() -> None:
    """One a stage and one behind the last: TVM adds none."""
    source = cuda_source(cuda_linear(SPEC, SM80), SM80)
    assert source.count("__syncthreads();") == 2


def test_parts_of_k_take_a_second_kernel() -> None:
    spec = replace(SPEC, few=True)
    schedule = replace(default_schedule(spec, SM80), splits=2)
    source = cuda_source(cuda_linear(spec, SM80, schedule), SM80)
    assert source.count("__global__ void __launch_bounds__") == 4  # two, each declared and defined
