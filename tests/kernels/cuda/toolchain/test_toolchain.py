"""Finding nvcc, reading what it says, and the facts of a small kernel that is known by heart."""

from pathlib import Path

import pytest

from l0compile.errors import BuildError, MissingDependency
from l0compile.hardware.targets import list_targets, load_target
from l0compile.kernels.cpu.lanes import kernel, local, param, store
from l0compile.kernels.cuda.toolchain import (
    CudaCode,
    CudaLaunch,
    compile_source,
    compiled_facts,
    count_instructions,
    cuda_code,
    find_toolchain,
    has_nvcc,
)
from l0compile.kernels.cuda.toolchain import find as finding
from l0compile.kernels.tir import TB

NAMES = [name for name in list_targets() if name.startswith("cuda")]


def _can_disassemble() -> bool:
    return has_nvcc() and None not in (find_toolchain().cuobjdump, find_toolchain().nvdisasm)


needs_nvcc = pytest.mark.skipif(not has_nvcc(), reason="nvcc is neither on PATH nor in a wheel")
needs_sass = pytest.mark.skipif(not _can_disassemble(), reason="cuobjdump or nvdisasm is not installed")

FRAGMENTS = r"""
#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(32) product(const uint4* a, const uint2* b, float4* c) {
  uint4 x = a[threadIdx.x]; uint2 y = b[threadIdx.x]; float4 z = c[threadIdx.x];
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(z.x), "+f"(z.y), "+f"(z.z), "+f"(z.w)
               : "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w), "r"(y.x), "r"(y.y));
  c[threadIdx.x] = z;
}
extern "C" __global__ void __launch_bounds__(64) reversed(const float* a, float* c) {
  __shared__ float kept[64];
  kept[threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  c[threadIdx.x] = fmaf(kept[63 - threadIdx.x], 2.0f, 1.0f);
}
"""


def _no_tools(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(finding, "_in_wheel", lambda name: None)


def test_without_nvcc_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_tools(monkeypatch, tmp_path)
    assert not has_nvcc()
    with pytest.raises(MissingDependency, match=r"needs nvcc; run: pip install 'l0compile\[cuda\]'"):
        compile_source("", load_target("cuda-sm80"))


def test_an_incomplete_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_tools(monkeypatch, tmp_path)
    nvcc = tmp_path / "cu13" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.touch()
    monkeypatch.setattr(finding, "_in_wheel", lambda name: nvcc if name == "nvcc" else None)
    with pytest.raises(MissingDependency, match="not nvidia-nvvm, nvidia-cuda-crt, nvidia-cuda-runtime"):
        find_toolchain()


@needs_nvcc
def test_without_disassemblers_the_message_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made = compile_source(FRAGMENTS, load_target("cuda-sm80"))
    monkeypatch.setattr(finding, "_tool", lambda name: None)
    with pytest.raises(MissingDependency, match="needs cuobjdump; run"):
        count_instructions(made.cubin)


@needs_nvcc
def test_a_compiler_that_does_not_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_tools(monkeypatch, tmp_path)
    (tmp_path / "nvcc").write_text("no program")
    (tmp_path / "nvcc").chmod(0o755)
    with pytest.raises(BuildError, match="nvcc: does not start"):
        find_toolchain()


@needs_nvcc
def test_without_a_host_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvcc = find_toolchain().nvcc
    monkeypatch.setattr(finding, "_in_wheel", lambda name: nvcc if name == "nvcc" else None)
    monkeypatch.setattr(finding, "_lacking", list)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="needs a C\\+\\+ compiler"):
        compile_source(FRAGMENTS, load_target("cuda-sm80"))


@needs_nvcc
def test_an_architecture_that_is_too_old_is_an_error() -> None:
    target = load_target("cuda-sm80")
    old = type(target)(**{**vars(target), "cpu": "sm_20"})
    with pytest.raises(BuildError, match="does not know sm_20"):
        compile_source(FRAGMENTS, old)


@needs_sass
def test_facts_of_kernels_known_by_heart() -> None:
    code = CudaCode(FRAGMENTS, (CudaLaunch("product", 32, 0), CudaLaunch("reversed", 64, 1024)))
    product, reversed_ = compiled_facts(code, load_target("cuda-sm80"))
    assert (product.kernel, product.arch, product.threads) == ("product", "sm_80", 32)
    assert product.instructions.hmma == 1 and product.instructions.ldg128 == 2
    assert product.instructions.stg128 == 1 and product.instructions.bar == 0
    assert (reversed_.static_shared, reversed_.dynamic_shared) == (256, 1024)
    assert reversed_.instructions.bar == 1 and reversed_.instructions.ffma == 1
    assert product.spill_bytes == reversed_.spill_bytes == reversed_.stack_bytes == 0
    # 32 of 64 warps: a multiprocessor takes 32 blocks of one warp.
    assert (product.blocks_per_sm, product.occupancy, product.limit) == (32, 0.5, "blocks")


@needs_sass
def test_spills_are_told() -> None:
    lines = "\n".join(f"float v{i} = a[{i} * 32 + threadIdx.x];" for i in range(64))
    sums = "\n".join(f"c[{i} * 32 + threadIdx.x] = v{i} * v{63 - i};" for i in range(64))
    code = (
        f'extern "C" __global__ void __launch_bounds__(1024, 2) wide(const float* a, float* c) {{\n{lines}\n'
    )
    code += f"__syncthreads();\n{sums}\n}}\n"
    (found,) = compiled_facts(CudaCode(code, (CudaLaunch("wide", 1024, 0),)), load_target("cuda-sm80"))
    assert found.spill_bytes > 0 and found.instructions.ldl > 0


@needs_sass
def test_a_kernel_that_nvcc_does_not_tell_of_is_an_error() -> None:
    with pytest.raises(BuildError, match=r"expected facts of the kernel gone, nvcc told of \['product'"):
        compiled_facts(CudaCode(FRAGMENTS, (CudaLaunch("gone", 32, 0),)), load_target("cuda-sm80"))


def _staged(words: int) -> object:
    """y = x backwards, through shared memory of which all is asked for at the launch."""
    with kernel("staged") as builder:
        x, y = param("x", (8, 128)), param("y", (8, 128))
        with TB.launch_thread("blockIdx.x", 8) as row, TB.launch_thread("threadIdx.x", 128) as lane:
            kept = TB.alloc_buffer((words,), "float32", scope="shared.dyn", layout=None)
            value = local((1,))
            store(value, x[row, lane], 0)
            store(kept, value[0], lane)
            store(y, kept[words - 1 - lane] + kept[127 - lane], row, lane)
    return builder.get()


@pytest.mark.parametrize("name", NAMES[:1])
def test_launches_are_read_from_the_lowered_function(name: str) -> None:
    code = cuda_code(_staged(4096), load_target(name))
    assert code.launches == (CudaLaunch("staged_kernel", 128, 4096 * 4),)
    assert "extern __shared__" in code.source


@needs_sass
@pytest.mark.parametrize("name", NAMES)
def test_code_of_tvm_compiles_for_every_architecture(name: str) -> None:
    target = load_target(name)
    (found,) = compiled_facts(cuda_code(_staged(4096), target), target)
    assert (found.arch, found.spill_bytes, found.dynamic_shared) == (target.cpu, 0, 16384)
    assert found.instructions.bar >= 1 and 0 < found.occupancy <= 1
