"""Each fault that the emulation has to find, in the smallest kernel that has it, and kernels that have none."""

import re

import numpy as np
import pytest

from l0compile.kernels.cuda.emulation.faults import (
    Crash,
    Deadlock,
    DivergentBarrier,
    KernelFault,
    LaunchFault,
    Misaligned,
    OutOfBounds,
    Race,
    Unending,
    UnknownInstruction,
    UnstableResult,
)
from l0compile.kernels.cuda.emulation.kernel import EmulatedKernel, KernelArray, poisoned

THREADS = 96

# Each reads x (96 floats) and writes y (96 floats).
TEXT = r"""
#define T threadIdx.x
__device__ unsigned address_of(void* at) { return (unsigned)__cvta_generic_to_shared(at); }
__device__ void copy4(void* to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(address_of(to)), "l"(from) : "memory");
}
__device__ void copy16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"(address_of(to)), "l"(from), "r"(bytes) : "memory");
}
__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int left> __device__ void wait() { asm volatile("cp.async.wait_group %0;" :: "n"(left) : "memory"); }

KERNEL(reverse) { __shared__ float s[96]; s[T] = x[T]; __syncthreads(); y[T] = s[95 - T]; }
KERNEL(no_barrier) { __shared__ float s[96]; s[T] = x[T]; y[T] = s[95 - T]; }
KERNEL(own_element) { __shared__ float s[96]; s[T] = x[T]; y[T] = s[T]; }
KERNEL(within_warp) { __shared__ float s[96]; s[T] = x[T]; __syncwarp(); y[T] = s[T ^ 1]; }
KERNEL(no_warp_barrier) { __shared__ float s[96]; s[T] = x[T]; y[T] = s[T ^ 1]; }
KERNEL(half_a_warp_barrier) {
  __shared__ float s[96];
  s[T] = x[T];
  if (T % 32 < 16) __syncwarp(0xffff);
  y[T] = s[T ^ 16];
}
KERNEL(overwritten) { __shared__ float s[96]; s[T] = x[T]; __syncthreads(); y[T] = s[95 - T]; s[T] = 0; }
KERNEL(two_writers) { __shared__ float s[96]; s[T / 2] = x[T]; __syncthreads(); y[T] = s[T / 2]; }

KERNEL(global_end) { y[T] = x[T + 1]; }
KERNEL(global_start) { y[T] = x[(int)T - 1]; }
KERNEL(result_end) { y[T + 1] = x[T]; }
KERNEL(far_away) { y[T] = x[T + 123456789]; }
KERNEL(shared_end) { __shared__ float s[95]; s[T] = x[T]; y[T] = s[T]; }
KERNEL(register_end) { float r[4] = {1, 2, 3, 4}; y[T] = r[T / 20]; }
KERNEL(next_array) {
  __shared__ float s[96];
  __shared__ float t[96];
  t[T] = s[T] = x[T];
  y[T] = (&s[0])[T + 96];
}
KERNEL(null) { float* none = nullptr; y[T] = none[T]; }

KERNEL(vector) { if (T < 48) *(float2*)(y + 2 * T) = *(float2*)(x + 2 * T); }
KERNEL(odd_vector) { if (T < 40) *(float4*)(y + 2 * T) = *(float4*)(x + 2 * T); }
KERNEL(odd_half_of_vector) { if (T < 40) y[T] = ((float4*)(x + 2 * T))->y; }

KERNEL(some_reach) { if (T < 64) __syncthreads(); y[T] = x[T]; }
KERNEL(two_places) {
  if (T < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[T] = x[T];
}
KERNEL(one_lane_less) { y[T] = T % 32 < 31 ? __shfl_xor_sync(0xffffffff, x[T], 1) : x[T]; }
KERNEL(lane_waits_elsewhere) {
  if (T % 32 < 31) y[T] = __shfl_xor_sync(0xffffffff, x[T], 1);
  else __syncthreads();
}
KERNEL(not_in_mask) { y[T] = __shfl_sync(0xffff, x[T], 0); }
KERNEL(lanes_for_each_other) {
  if (T % 32 < 16) y[T] = __shfl_sync(0xffffffff, x[T], 0);
  else y[T] = __shfl_up_sync(0xffffffff, x[T], 1);
}

KERNEL(copied) {
  __shared__ float s[96];
  copy4(s + T, x + T);
  commit();
  wait<0>();
  __syncthreads();
  y[T] = s[95 - T];
}
KERNEL(copy_not_waited_for) {
  __shared__ float s[96];
  copy4(s + T, x + T);
  commit();
  __syncthreads();
  y[T] = s[95 - T];
}
KERNEL(copy_not_committed) {
  __shared__ float s[96];
  copy4(s + T, x + T);
  wait<0>();
  __syncthreads();
  y[T] = s[95 - T];
}
KERNEL(waited_for_one_too_few) {
  __shared__ float s[96];
  copy4(s + T, x + T);
  commit();
  wait<1>();
  __syncthreads();
  y[T] = s[95 - T];
}
KERNEL(copy_without_barrier) {
  __shared__ float s[96];
  copy4(s + T, x + T);
  commit();
  wait<0>();
  y[T] = s[95 - T];
}
KERNEL(copy_over_what_is_read) {
  __shared__ float s[96];
  s[T] = x[T];
  __syncthreads();
  y[T] = s[95 - T];
  copy4(s + T, x + T);
  commit();
  wait<0>();
}
KERNEL(odd_copy) {
  __shared__ __align__(16) float s[96];
  if (T < 20) copy16(s + 4 * T + 1, x + 4 * T, 16);
  y[T] = x[T];
}
KERNEL(odd_source) {
  __shared__ __align__(16) float s[96];
  if (T < 20) copy16(s + 4 * T, x + 4 * T + 1, 16);
  y[T] = x[T];
}
KERNEL(copy_past_the_end) {
  __shared__ __align__(16) float s[100];
  if (T < 25) copy16(s + 4 * T, x + 4 * T, 16);
  y[T] = x[T];
}
KERNEL(copy_with_zeros) {
  __shared__ __align__(16) float s[96];
  if (T < 24) copy16(s + 4 * T, x + 4 * T, T == 23 ? 8 : T == 22 ? 0 : 16);
  commit();
  wait<0>();
  __syncthreads();
  y[T] = s[T];
}

KERNEL(endless) { while (*(volatile float*)x != 0.5f) {} y[T] = x[T]; }
KERNEL(reads_result_of_another) { y[T] = x[T]; if (T == 40) y[T] += y[5]; }
KERNEL(traps) { if (T == 5) __trap(); y[T] = x[T]; }
KERNEL(divides) { volatile int none = 0; y[T] = (int)T / none; }
KERNEL(deep) { volatile float local[1 << 20]; for (int i = 0; i < 1 << 20; i += 64) local[i] = x[T]; y[T] = local[64]; }
KERNEL(blocks_write_one_place) { y[T] = x[T] + blockIdx.x; }
KERNEL(uninitialised) { float sum[4]; for (int i = 0; i < 4; ++i) sum[i] += x[T]; y[T] = sum[T % 4]; }
KERNEL(poison) { __shared__ float s[96]; y[T] = s[T] + x[T]; }
extern "C" __global__ void __launch_bounds__(64) for_64_threads(float* x, float* y) { y[T] = x[T]; }
KERNEL(cached_read_of_a_result) {
  y[T] = x[T];
  __syncthreads();
  float other;
  asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(other) : "l"(y + (T ^ 1)));
  __syncthreads();
  y[T] = other;
}
KERNEL(counted) {
  __shared__ int count;
  if (T == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);
  y[T] = x[T] + (count > 1000);
}
KERNEL(dynamic) { extern __shared__ __align__(64) float s[]; s[T] = x[T]; __syncthreads(); y[T] = s[95 - T]; }
"""


HEAD = r'extern "C" __global__ void \1(float* __restrict__ x, float* __restrict__ y)'
SOURCE = re.sub(r"KERNEL\((\w+)\)", HEAD, TEXT)


@pytest.fixture(scope="module")
def x() -> KernelArray:
    return np.random.default_rng(0).standard_normal(THREADS).astype(np.float32)


def launch(name: str, x: KernelArray, grid: int = 1, seconds: float = 60.0, shared: int = 0) -> KernelArray:
    given = [x, poisoned(x.shape, x.dtype)]
    return EmulatedKernel(SOURCE, name).launch((grid,), (THREADS,), given, shared, seconds=seconds)[1]


@pytest.mark.parametrize(
    ("name", "fault", "words"),
    [
        ("no_barrier", Race, "of s, which thread"),
        ("no_warp_barrier", Race, "since the last barrier"),
        ("half_a_warp_barrier", Race, "since the last barrier"),
        ("overwritten", Race, "since the last barrier"),
        ("two_writers", Race, "wrote since"),
        ("reads_result_of_another", Race, "byte 20 of argument 1"),
        ("global_end", OutOfBounds, "reads 4 bytes at byte 384 of argument 0, which has 384"),
        ("global_start", OutOfBounds, "byte -4 of argument 0"),
        ("result_end", OutOfBounds, "writes 4 bytes at byte 384 of argument 1"),
        ("far_away", OutOfBounds, "outside of every buffer"),
        ("shared_end", OutOfBounds, "an index past the end of its array"),
        ("register_end", OutOfBounds, "an index past the end of its array"),
        ("next_array", OutOfBounds, "no array's"),
        ("null", OutOfBounds, "outside of every buffer"),
        ("odd_vector", Misaligned, "multiple of 16, this one is 8 past one"),
        ("odd_half_of_vector", Misaligned, "multiple of 16"),
        ("some_reach", DivergentBarrier, r"__syncthreads at line \d+, and thread .* has ended"),
        ("two_places", DivergentBarrier, r"in that at line \d+"),
        ("lane_waits_elsewhere", DivergentBarrier, "__shfl_xor_sync"),
        ("not_in_mask", DivergentBarrier, "is not in its mask"),
        ("lanes_for_each_other", DivergentBarrier, "lanes of one warp wait in"),
        ("copy_not_waited_for", Race, "nothing has waited for"),
        ("copy_not_committed", Race, "nothing has waited for"),
        ("waited_for_one_too_few", Race, "nothing has waited for"),
        ("copy_without_barrier", Race, "since the last barrier"),
        ("copy_over_what_is_read", Race, "since the last barrier"),
        ("odd_copy", Misaligned, "destination of cp.async"),
        ("odd_source", Misaligned, "source of cp.async"),
        ("copy_past_the_end", OutOfBounds, "reads 16 bytes at byte 384"),
        ("cached_read_of_a_result", Race, "ld.global.nc"),
        ("counted", Race, "of count, which thread"),
        ("traps", Crash, "the kernel trapped"),
        ("divides", Crash, "signal 8"),
        ("deep", OutOfBounds, "stack"),
        ("dynamic", LaunchFault, "launched with 0 bytes"),
    ],
)
def test_found(name: str, fault: type[KernelFault], words: str, x: KernelArray) -> None:
    with pytest.raises(fault, match=words) as caught:
        launch(name, x)
    assert f"kernel {name}" in str(caught.value)


@pytest.mark.parametrize("name", ["reverse", "own_element", "within_warp", "vector", "copied"])
def test_not_found_in_what_is_right(name: str, x: KernelArray) -> None:
    expected = {"reverse": x[::-1], "copied": x[::-1], "within_warp": x.reshape(-1, 2)[:, ::-1].reshape(-1)}
    np.testing.assert_array_equal(launch(name, x), expected.get(name, x))


def test_a_copy_fills_up_with_zeros(x: KernelArray) -> None:
    expected = x.copy()
    expected[88:92] = expected[94:] = 0
    np.testing.assert_array_equal(launch("copy_with_zeros", x), expected)


def test_the_fault_names_block_thread_and_line(x: KernelArray) -> None:
    line = 1 + SOURCE[: SOURCE.index(" global_end(")].count("\n")
    with pytest.raises(OutOfBounds, match=rf"block \(0, 0, 0\), thread \(95, 0, 0\): .* \(line {line}\)"):
        launch("global_end", x)


def test_two_blocks_do_not_write_one_place(x: KernelArray) -> None:
    with pytest.raises(Race, match="which block 0 wrote in the same launch"):
        launch("blocks_write_one_place", x, grid=2)


def test_a_kernel_without_end(x: KernelArray) -> None:
    with pytest.raises(Unending, match=r"no end within 0\.5 seconds"):
        launch("endless", x, seconds=0.5)


def test_what_was_never_written_is_no_number(x: KernelArray) -> None:
    assert np.isnan(launch("poison", x)).all()
    assert (np.abs(launch("uninitialised", x)) > 1e30).all()


def test_dynamic_shared_memory_ends_where_it_was_said(x: KernelArray) -> None:
    np.testing.assert_array_equal(launch("dynamic", x, shared=4 * THREADS), x[::-1])
    with pytest.raises(OutOfBounds, match="no array's"):
        launch("dynamic", x, shared=4 * THREADS - 4)
    with pytest.raises(LaunchFault, match="at most 232448"):
        launch("dynamic", x, shared=1 << 20)


def test_launches_that_a_gpu_refuses(x: KernelArray) -> None:
    kernel, y = EmulatedKernel(SOURCE, "reverse"), poisoned(x.shape, x.dtype)
    with pytest.raises(LaunchFault, match="expected 2 arguments, got 1"):
        kernel.launch((1,), (THREADS,), [x])
    with pytest.raises(LaunchFault, match="argument 1: expected an array"):
        kernel.launch((1,), (THREADS,), [x, 5])
    with pytest.raises(LaunchFault, match="at most 1024"):
        kernel.launch((1,), (1025,), [x, y])
    with pytest.raises(LaunchFault, match="a block of 96 threads; __launch_bounds__ allows 64"):
        launch("for_64_threads", x)
    with pytest.raises(LaunchFault, match="at most 65535 in y"):
        kernel.launch((1, 65536), (THREADS,), [x, y])
    with pytest.raises(UnknownInstruction, match="expected the name of one of the kernels"):
        EmulatedKernel(SOURCE, "absent")


def test_a_result_that_depends_on_the_order_of_blocks() -> None:
    source = 'extern "C" __global__ void last(int* y) { atomicExch(y, (int)blockIdx.x); }'
    with pytest.raises(UnstableResult, match=r"argument 0: element 0 \(of 1\)"):
        EmulatedKernel(source).launch((3,), (1,), [np.zeros(1, np.int32)])


def test_lanes_that_wait_for_lanes_that_wait() -> None:
    source = """
    extern "C" __global__ void both(int* y) {
      if (threadIdx.x < 16) __syncwarp(0x0001ffff);
      else __syncwarp(0xfffe0000);
      y[threadIdx.x] = 1;
    }"""
    with pytest.raises((Deadlock, DivergentBarrier)):
        EmulatedKernel(source).launch((1,), (32,), [np.zeros(32, np.int32)])
