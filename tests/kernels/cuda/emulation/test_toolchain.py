"""Compiled kernels are kept, and are the same without a cache."""

import numpy as np
import pytest

from l0compile.hardware.cache_folder import SWITCHED_OFF, VARIABLE
from l0compile.kernels.cuda.emulation.kernel import ORDERS, EmulatedKernel, KernelLaunch, run_launches
from l0compile.kernels.cuda.emulation.toolchain import executable, source_line
from l0compile.kernels.cuda.emulation.translation import kernels, translated

OTHER = "fused_" + "and_what_follows_" * 12
SOURCE = """
extern "C" __global__ void __launch_bounds__(32, 2) twice(int* x);
extern "C" __global__ void __launch_bounds__(32, 2) twice(int* x) {
  __shared__ __align__(16)
    int s[4][8];
  s[threadIdx.x / 8][threadIdx.x % 8] = x[threadIdx.x];
  x[threadIdx.x] = 2 * s[threadIdx.x / 8][threadIdx.x % 8];
}
extern "C" __global__ void OTHER(int* x) { x[0] = 7; }
""".replace("OTHER", OTHER)


def test_a_source_is_compiled_once() -> None:
    first = executable(SOURCE)
    made = first.stat().st_mtime_ns
    assert executable(SOURCE) == first and first.stat().st_mtime_ns == made
    assert executable(SOURCE + "\n// another\n") != first


def test_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SWITCHED_OFF)
    x = np.arange(32, dtype=np.int32)
    np.testing.assert_array_equal(EmulatedKernel(SOURCE, "twice").launch((1,), (32,), [x])[0], 2 * x)
    np.testing.assert_array_equal(x, np.arange(32))  # what is given is not changed


def test_lines_keep_their_numbers() -> None:
    head, kernel = '#include "cuda.h"\n#line 1 "kernel.cu"\n', translated(SOURCE)
    assert kernel.startswith(head)
    before, after = SOURCE.splitlines(), kernel.removeprefix(head).splitlines()
    assert [before[i] for i in (0, 1, 6, 7, 8)] == [after[i] for i in (0, 1, 6, 7, 8)]


def test_kernels_and_their_launch_bounds() -> None:
    assert kernels(SOURCE) == {"twice": 32, OTHER: 1024}


def test_a_kernel_with_a_long_name() -> None:
    assert EmulatedKernel(SOURCE, OTHER).launch((1,), (1,), [np.zeros(1, np.int32)])[0] == 7


def test_launches_of_many_kernels_each_have_their_own_shared_memory() -> None:
    """Together their arrays are larger than what a block has; each starts as no number."""
    text = """
    extern "C" __global__ void add_NUMBER(int* x) {
      __shared__ int s[8192];
      int before = s[threadIdx.x];
      s[threadIdx.x] = x[threadIdx.x] + NUMBER;
      x[threadIdx.x] = before == -1 ? s[threadIdx.x] : 1 << 30;
    }"""
    source = "".join(text.replace("NUMBER", str(number)) for number in range(260))
    launches = [
        KernelLaunch(f"add_{number}", (1, 1, 1), (32, 1, 1), (("buffer", 0),)) for number in range(260)
    ]
    start = np.arange(32, dtype=np.int32)
    (result,) = run_launches(executable(source), launches, {"x": start}, ORDERS, 60)
    np.testing.assert_array_equal(result, start + sum(range(260)))


def test_an_unknown_address_has_no_line() -> None:
    assert source_line(executable(SOURCE), "0x10") == ""
