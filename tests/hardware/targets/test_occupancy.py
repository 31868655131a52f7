"""Occupancy: known cases, bounds, and agreement with NVIDIA's own calculator where its header is installed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import TargetError
from l0compile.hardware.targets import list_targets, load_target, occupancy
from l0compile.kernels.cuda.toolchain import find_toolchain, has_nvcc

SHIPPED = [name for name in list_targets() if name.startswith("cuda")]


def test_known_cases() -> None:
    a100, t4 = load_target("cuda-sm80"), load_target("cuda-sm75")
    assert (occupancy(a100, 128, 32, 0).blocks, occupancy(a100, 128, 32, 0).share) == (16, 1.0)
    assert (occupancy(a100, 128, 200, 0).blocks, occupancy(a100, 128, 200, 0).limit) == (2, "registers")
    # 48 KiB and one KiB of the driver fit three times in 164 KiB.
    assert (occupancy(a100, 128, 32, 48 << 10).blocks, occupancy(a100, 128, 32, 48 << 10).limit) == (
        3,
        "shared memory",
    )
    assert occupancy(a100, 32, 16, 0).limit == "blocks"
    assert occupancy(t4, 256, 32, 0).share == 1.0


def test_what_cannot_be_launched_has_no_blocks() -> None:
    a100 = load_target("cuda-sm80")
    for threads, registers, shared in ((1056, 16, 0), (1024, 128, 0), (128, 256, 0), (128, 16, 164 << 10)):
        assert occupancy(a100, threads, registers, shared).blocks == 0


def test_a_cpu_has_no_multiprocessors() -> None:
    with pytest.raises(TargetError, match="expected a GPU, got kind 'llvm'"):
        occupancy(load_target("x86-64-avx2"), 128, 32, 0)


@given(
    st.sampled_from(SHIPPED),
    st.integers(1, 32),
    st.integers(1, 255),
    st.integers(0, 100 << 10),
    st.integers(0, 3),
)
def test_more_of_anything_never_raises_it(
    name: str, warps: int, registers: int, shared: int, which: int
) -> None:
    target = load_target(name)
    held = occupancy(target, warps * 32, registers, shared)
    assert 0 <= held.share <= 1
    more = occupancy(target, warps * 32, registers + 8 * (which == 0), shared + 4096 * (which == 1))
    assert more.blocks <= held.blocks


PROGRAM = r"""
#include <cstdio>
#include <cuda_occupancy.h>
int main() {
  int major, minor, threads_sm, regs_sm, threads, regs; size_t smem_sm, smem_block, smem;
  while (scanf("%d %d %d %d %zu %zu %d %d %zu", &major, &minor, &threads_sm, &regs_sm, &smem_sm, &smem_block, &threads,
               &regs, &smem) == 9) {
    cudaOccDeviceProp card = {};
    card.computeMajor = major; card.computeMinor = minor; card.maxThreadsPerBlock = 1024; card.warpSize = 32;
    card.maxThreadsPerMultiprocessor = threads_sm; card.regsPerBlock = regs_sm; card.regsPerMultiprocessor = regs_sm;
    card.sharedMemPerBlock = 48 << 10; card.sharedMemPerMultiprocessor = smem_sm; card.numSms = 1;
    card.sharedMemPerBlockOptin = smem_block; card.reservedSharedMemPerBlock = major >= 8 ? 1024 : 0;
    cudaOccFuncAttributes kernel = {};
    kernel.maxThreadsPerBlock = 1024; kernel.numRegs = regs; kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = smem_block; kernel.numBlockBarriers = 1;
    cudaOccDeviceState state = {};
    cudaOccResult result = {};
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &card, &kernel, &state, threads, smem) != CUDA_OCC_SUCCESS)
      return 1;
    printf("%d\n", result.activeBlocksPerMultiprocessor);
  }
}
"""


@pytest.mark.skipif(not has_nvcc() or shutil.which("g++") is None, reason="needs nvcc's headers and g++")
def test_it_is_what_nvidias_calculator_says(tmp_path: Path) -> None:
    headers = [find_toolchain().nvcc.resolve().parents[1] / "include", Path("/usr/local/cuda/include")]
    header = next((folder for folder in headers if (folder / "cuda_occupancy.h").exists()), None)
    if header is None:
        pytest.skip("this toolkit comes without cuda_occupancy.h")
    (tmp_path / "ask.cpp").write_text(PROGRAM)
    subprocess.run(
        ["g++", "-w", f"-I{header}", "-o", tmp_path / "ask", tmp_path / "ask.cpp"],
        check=True,
        capture_output=True,
    )
    cases, lines = [], []
    for name in SHIPPED:
        target = load_target(name)
        gpu, arch = target.gpu, target.cpu.removeprefix("sm_").rstrip("a")
        assert gpu is not None
        for threads in (32, 64, 96, 128, 160, 256, 384, 512, 1024):
            for registers in (16, 32, 40, 57, 64, 96, 128, 168, 255):
                for shared in (0, 1, 8 << 10, 33_000, 49_152, 65_536, 99 << 10, 163 << 10, 227 << 10):
                    cases.append((name, threads, registers, shared))
                    lines.append(
                        f"{arch[:-1]} {arch[-1]} {gpu.threads_per_sm} {gpu.registers_per_sm} {gpu.shared_per_sm} "
                        f"{gpu.shared_per_block} {threads} {registers} {shared}"
                    )
    said = subprocess.run(
        [tmp_path / "ask"], input="\n".join(lines), capture_output=True, text=True, check=True
    ).stdout.split()
    ours = [occupancy(load_target(name), *rest).blocks for name, *rest in cases]
    wrong = {
        json.dumps(case): (mine, theirs)
        for case, mine, theirs in zip(cases, ours, map(int, said), strict=True)
        if mine != theirs
    }
    assert not wrong
