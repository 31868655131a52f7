"""Narrow floats, conversions and small instructions of the emulation against NumPy."""

import ml_dtypes
import numpy as np
import pytest

from l0compile.errors import MissingDependency
from l0compile.kernels.cuda.emulation import toolchain
from l0compile.kernels.cuda.emulation.faults import UnknownInstruction
from l0compile.kernels.cuda.emulation.kernel import EmulatedKernel, KernelArray, poisoned

HEAD = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#define I (blockIdx.x * blockDim.x + threadIdx.x)
"""
SOURCE = (
    HEAD
    + r"""
extern "C" __global__ void widen_half(half* x, float* y) { y[I] = __half2float(x[I]); }
extern "C" __global__ void widen_bfloat(nv_bfloat16* x, float* y) { y[I] = __bfloat162float(x[I]); }
extern "C" __global__ void narrow_half(float* x, half* y) { y[I] = __float2half_rn(x[I]); }
extern "C" __global__ void narrow_bfloat(float* x, nv_bfloat16* y) { y[I] = (nv_bfloat16)(x[I]); }
extern "C" __global__ void half_arithmetic(half* x, half* y) {
  half a = x[I], b = x[I ^ 1];
  y[I] = __hfma(a, b, a) + a * b - hexp(b) / half(3.0f);
}
extern "C" __global__ void half_pairs(half2* x, float2* y) {
  half2 a = x[I];
  y[I] = __half22float2(__hadd2(a, __halves2half2(a.y, a.x)));
}
extern "C" __global__ void reduced(float* x, float* y) {
  float sum = x[I];
  for (int by = 16; by; by /= 2) sum += __shfl_down_sync(0xffffffff, sum, by);
  y[I] = __shfl_sync(0xffffffff, sum, 0, 32);
}
extern "C" __global__ void segments(int* x, int* y) {
  y[I * 4] = __shfl_xor_sync(0xffffffffu, x[I], 3, 8);
  y[I * 4 + 1] = __shfl_up_sync(0xffffffffu, x[I], 2, 8);
  y[I * 4 + 2] = __shfl_down_sync(0xffffffffu, x[I], 2, 8);
  y[I * 4 + 3] = __shfl_sync(0xffffffffu, x[I], 11, 8);
}
extern "C" __global__ void votes(int* x, unsigned* y) {
  y[I * 3] = __ballot_sync(0xffffffffu, x[I] > 0);
  y[I * 3 + 1] = __any_sync(0xffffffffu, x[I] > 1000);
  y[I * 3 + 2] = __all_sync(0xffffffffu, x[I] > -1000);
}
extern "C" __global__ void dot_of_four(int* x, int* y) {
  int both = __dp4a(x[I], x[I ^ 1], 7), mixed;
  asm volatile("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(mixed) : "r"(x[I]), "r"(x[I ^ 1]), "r"(-3));
  y[I * 2] = both;
  y[I * 2 + 1] = mixed;
}
extern "C" __global__ void totals(float* x, float* sum, int* count) {
  atomicAdd(sum, x[I]);
  atomicAdd(count + I % 4, 1);
  __shared__ int all;
  if (threadIdx.x == 0) all = 0;
  __syncthreads();
  atomicAdd(&all, 1);
  __syncthreads();
  if (threadIdx.x == 0) atomicMax(count + 4, all);
}
extern "C" __global__ void last_block_adds(float* x, float* parts, int* ticket, float* y) {
  __shared__ int before;
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = x[blockIdx.x];
    __threadfence();
    before = atomicAdd(ticket, 1);
  }
  __syncthreads();
  if (before == gridDim.x - 1 && threadIdx.x == 0) {
    __threadfence();
    float sum = 0;
    for (int i = 0; i < gridDim.x; ++i) sum += parts[i];
    y[0] = sum;
  }
}
extern "C" __global__ void ptx(float* x, float* y, unsigned* bits) {
  float e, low;
  unsigned pair, tf, chosen;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(x[I]));
  asm volatile("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(x[I]), "f"(e));
  asm volatile("cvt.rna.tf32.f32 %0, %1;" : "=r"(tf) : "f"(x[I]));
  asm volatile("{\n .reg .pred p;\n .reg .b32 t;\n setp.ne.b32 p, %1, 0;\n @p mov.b32 t, 5;\n"
               " @!p mov.b32 t, 7; // as said\n mov.b32 %0, t;\n}" : "=r"(chosen) : "r"(I % 3));
  asm volatile("ld.global.nc.f32 %[to], [%[from]+4];" : [to] "=f"(low) : [from] "l"(x + (I & ~1)));
  y[I * 2] = e;
  y[I * 2 + 1] = low;
  bits[I * 3] = pair;
  bits[I * 3 + 1] = tf;
  bits[I * 3 + 2] = chosen;
}
"""
)


def run(name: str, x: KernelArray, *results: KernelArray, grid: int = 1) -> list[KernelArray]:
    return EmulatedKernel(SOURCE, name).launch((grid,), (x.size // grid,), [x, *results])[1:]


@pytest.mark.parametrize(
    ("name", "dtype"), [("widen_half", np.float16), ("widen_bfloat", ml_dtypes.bfloat16)]
)
def test_every_narrow_float_widens(name: str, dtype: type) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    (y,) = run(name, x, poisoned(x.shape, np.float32), grid=64)
    np.testing.assert_array_equal(y, x.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "dtype"), [("narrow_half", np.float16), ("narrow_bfloat", ml_dtypes.bfloat16)]
)
def test_floats_round_to_nearest_even(name: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    exact = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
    exact = exact[np.isfinite(exact)]
    middle = (exact[:-1].astype(np.float64) + exact[1:]) / 2  # ties, and numbers beside them
    near = np.concatenate([middle, np.nextafter(middle.astype(np.float32), np.float32(np.inf))])
    wild = rng.integers(0, 1 << 32, 1 << 14, np.uint32).view(np.float32)
    x = np.concatenate(
        [near.astype(np.float32), wild[~np.isnan(wild)], np.float32([np.inf, -np.inf, 65519, 65520, 1e-8])]
    )
    x = np.resize(x, 1024 * -(-x.size // 1024))
    (y,) = run(name, x, poisoned(x.shape, dtype), grid=x.size // 1024)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y.view(np.uint16), x.astype(dtype).view(np.uint16))


def test_arithmetic_of_halves() -> None:
    x = np.random.default_rng(1).standard_normal(64).astype(np.float16)
    other = x.reshape(-1, 2)[:, ::-1].reshape(-1)
    fma = (x.astype(np.float64) * other + x).astype(np.float16)
    expected = fma + x * other - np.exp(other.astype(np.float32)).astype(np.float16) / np.float16(3)
    np.testing.assert_allclose(
        run("half_arithmetic", x, poisoned(x.shape, x.dtype))[0], expected, rtol=2e-3, atol=2e-3
    )
    pairs = EmulatedKernel(SOURCE, "half_pairs").launch((1,), (32,), [x, poisoned((32, 2), np.float32)])[1]
    np.testing.assert_array_equal(pairs, np.repeat((x[::2] + x[1::2]).astype(np.float32)[:, None], 2, 1))


def test_shuffles_and_votes() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(64).astype(np.float32)
    sums = np.repeat(x.reshape(2, 32).sum(1), 32)
    np.testing.assert_allclose(run("reduced", x, poisoned(x.shape, x.dtype))[0], sums, rtol=1e-5)
    whole, lanes = np.arange(64, dtype=np.int32) * 10, np.arange(64)
    start = lanes // 8 * 8
    expected = [
        start + (lanes % 8 ^ 3),
        np.where(lanes % 8 < 2, lanes, lanes - 2),
        np.where(lanes % 8 > 5, lanes, lanes + 2),
        start + 3,
    ]
    np.testing.assert_array_equal(
        run("segments", whole, poisoned((64, 4), np.int32))[0], 10 * np.stack(expected, 1)
    )
    signs = rng.integers(-5, 5, 32, np.int32)
    ballot = int("".join("1" if v > 0 else "0" for v in signs[::-1]), 2)
    np.testing.assert_array_equal(run("votes", signs, poisoned((32, 3), np.uint32))[0], [[ballot, 0, 1]] * 32)


def test_products_of_four_bytes() -> None:
    x = np.random.default_rng(3).integers(-(1 << 31), 1 << 31, 32, np.int32)
    other = x.reshape(-1, 2)[:, ::-1].reshape(-1).copy()
    signed, unsigned = x.view(np.int8).reshape(32, 4).astype(int), x.view(np.uint8).reshape(32, 4).astype(int)
    second = other.view(np.int8).reshape(32, 4).astype(int)
    expected = np.stack([(signed * second).sum(1) + 7, (unsigned * second).sum(1) - 3], 1)
    np.testing.assert_array_equal(run("dot_of_four", x, poisoned((32, 2), np.int32))[0], expected)


def test_atomic_additions() -> None:
    x = np.random.default_rng(4).standard_normal(256).astype(np.float32)
    total, counts = run("totals", x, np.zeros(1, np.float32), np.zeros(5, np.int32), grid=4)
    np.testing.assert_allclose(total, x.sum(dtype=np.float64), rtol=1e-5)
    np.testing.assert_array_equal(counts, [64, 64, 64, 64, 64])


def test_a_block_may_read_what_others_wrote_before_their_fence() -> None:
    x = np.arange(256, dtype=np.float32)
    results = [poisoned((256,), np.float32), np.zeros(1, np.int32), poisoned((1,), np.float32)]
    _, ticket, y = EmulatedKernel(SOURCE, "last_block_adds").launch((256,), (32,), [x, *results])[1:]
    assert ticket[0] == 256 and y[0] == x.sum()


def test_ptx_in_inline_assembly() -> None:
    x = np.random.default_rng(5).standard_normal(32).astype(np.float32)
    x[4] = -140  # two to that is less than 2^-126, and flushed
    y, bits = run("ptx", x, poisoned((32, 2), np.float32), poisoned((32, 3), np.uint32))
    np.testing.assert_allclose(y[:, 0], np.where(x < -126, 0, np.exp2(x)), rtol=1e-6)
    np.testing.assert_array_equal(y[:, 1], np.repeat(x[1::2], 2))
    pair = (
        np.stack([y[:, 0], x], 1).astype(np.float16).view(np.uint32)[:, 0]
    )  # the first operand goes to the upper half
    tf32 = (x.view(np.uint32) + 0x1000) & 0xFFFFE000
    np.testing.assert_array_equal(bits, np.stack([pair, tf32, np.where(np.arange(32) % 3, 5, 7)], 1))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            'asm volatile("griddepcontrol.wait;");',
            "line 6: the emulation has no PTX instruction `griddepcontrol.wait",
        ),
        (
            'asm volatile("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%0}, {%0}, {%0}, {%0};" : "+r"(n));',
            "operands of PTX",
        ),
        ('asm volatile("mov.b32 %0, %%clock;" : "=r"(n));', "does not know the operand"),
        (
            'asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0}, [%0];" : "+r"(n));',
            "2 registers expected",
        ),
        ('asm volatile("bar.sync 1, 64;");', "only barrier 0"),
        ("n = __absent_intrinsic(n);", "g\\+\\+ refused the kernel: .*__absent_intrinsic"),
        ("__shared__ float a[2], b[2];", "cannot read this declaration of shared memory"),
    ],
)
def test_what_is_not_emulated_is_refused(code: str, words: str) -> None:
    source = HEAD + 'extern "C" __global__ void f(int* x, int n) {\n' + code + "\nx[0] = n;\n}"
    with pytest.raises(UnknownInstruction, match=words):
        EmulatedKernel(source)


def test_source_without_a_kernel_is_refused() -> None:
    with pytest.raises(UnknownInstruction, match="expected CUDA C\\+\\+ with a __global__ function"):
        EmulatedKernel("int main() {}")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    toolchain._compiler.cache_clear()
    with pytest.raises(MissingDependency, match=r"needs g\+\+ 12 or later"):
        EmulatedKernel(SOURCE, "ptx")
    toolchain._compiler.cache_clear()
