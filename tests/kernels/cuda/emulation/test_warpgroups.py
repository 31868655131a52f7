"""wgmma against NumPy: where descriptors find matrices, and who holds which sum.

Matrices are laid out by the canonical layouts of the PTX ISA ("Shared Memory Matrix Layout", table of strides), as
shapes and strides in elements, and by its swizzles. Nothing here is taken from the emulation.
"""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from l0compile.kernels.cuda.emulation.faults import (
    Deadlock,
    DivergentBarrier,
    KernelFault,
    Misaligned,
    Race,
    UnknownInstruction,
)
from l0compile.kernels.cuda.emulation.kernel import EmulatedKernel, KernelArray

SIZE = 32 << 10
FORWARD = (("forward", 0),)
TYPES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "tf32": np.float32}


SHOW, MEET = 'asm volatile("fence.proxy.async;" ::: "memory");', "__syncthreads();"
FENCE = 'asm volatile("wgmma.fence.sync.aligned;" ::: "memory");'
COMMIT = 'asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");'
WAIT, LATER = (f'asm volatile("wgmma.wait_group.sync.aligned {i};" ::: "memory");' for i in (0, 1))
READY = (SHOW, MEET, FENCE)


@dataclass(frozen=True)
class Layout:
    """A matrix in shared memory.

    Attributes:
        width: bytes of a swizzled row, 0 for no swizzle.
        transposed: columns run along memory (MN-major).
        leading, stride: bytes.
    """

    width: int
    transposed: bool
    leading: int
    stride: int

    def descriptor(self, start: int = 0) -> int:
        mode = {0: 0, 128: 1, 64: 2, 32: 3}[self.width]
        return mode << 62 | self.stride >> 4 << 32 | self.leading >> 4 << 16 | start >> 4

    def places(self, rows: int, depth: int, size: int) -> KernelArray:
        """Byte of each element [rows, depth] of ``size`` bytes: of A, or of B transposed."""
        t, lead, step = 16 // size, self.leading // size, self.stride // size
        w = max(self.width, 16) // 16
        if (
            self.transposed
        ):  # ((T, w, m), (8, k)) : ((1, T, LBO), (wT, SBO)); interleaved: the strides change places
            outer, beyond = (lead, step) if self.width else (step, lead)
            of_row = _coordinates(rows, (t, w, rows), (1, t, outer))
            of_k = _coordinates(depth, (8, depth), (w * t, beyond))
        else:  # ((8, m), (T, 2k)) : ((wT, SBO), (1, T)); without swizzle the second T is LBO
            of_row = _coordinates(rows, (8, rows), (w * t, step))
            of_k = _coordinates(depth, (t, depth), (1, t if self.width else lead))
        found = (of_row[:, None] + of_k[None]) * size
        bits = {0: 0, 32: 1, 64: 2, 128: 3}[self.width]  # Swizzle<bits, 4, 3>
        return found ^ ((found >> 7) & (2**bits - 1)) << 4


def _coordinates(count: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> KernelArray:
    """The offsets of numbers 0 to count - 1 in a nested axis."""
    rest, found = np.arange(count), np.zeros(count, np.int64)
    for extent, stride in zip(shape, strides, strict=True):
        found, rest = found + rest % extent * stride, rest // extent
    return found


def kernel(n: int, kind: str, turned: str, body: tuple[str, ...] = (), name: str = "product") -> str:
    """A kernel of one warpgroup: shared memory from an image, one product, all sums as they are held."""
    k, count = (8 if kind == "tf32" else 16), n // 2
    sums = ", ".join(f"%{i}" for i in range(count))
    outs = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    form = f"wgmma.mma_async.sync.aligned.m64n{n}k{k}.f32.{kind}.{kind}"
    code = f"{{ .reg .pred p; setp.ne.b32 p, 1, 0; {form} {{{sums}}}, %{count}, %{count + 1}, p, 1, 1{turned}; }}"
    product = f'asm volatile("{code}" : {outs} : "l"(at + a), "l"(at + b));'
    lines = "\n  ".join(body or (*READY, "PRODUCT", COMMIT, WAIT))
    return f"""
extern "C" __global__ void {name}(unsigned* image, float* result, unsigned long long a, unsigned long long b) {{
  extern __shared__ __align__(1024) unsigned char memory[];
  unsigned long long at = __cvta_generic_to_shared(memory) >> 4;
  for (int i = threadIdx.x; i < {SIZE // 4}; i += 128) ((unsigned*)memory)[i] = image[i];
  float d[{count}];
  for (int i = 0; i < {count}; ++i) d[i] = i;
  {lines.replace("PRODUCT", product)}
  for (int i = 0; i < {count}; ++i) result[threadIdx.x * {count} + i] = d[i];
}}"""


def sum_places(n: int) -> tuple[KernelArray, KernelArray]:
    """Row and column of register i of each thread: figure "WGMMA .m64nNk16 register fragment layout for D"."""
    thread, i = np.arange(128)[:, None], np.arange(n // 2)[None]
    return 16 * (thread // 32) + thread % 32 // 4 + 8 * (i // 2 % 2), 8 * (i // 4) + 2 * (thread % 4) + i % 2


def along(width: int, group: int = 0) -> Layout:
    """K-major. group: bytes of eight rows, if more than the rows take."""
    return Layout(width, False, 128 if not width else 16, group or (8 * width if width else 256))


def across(width: int, columns: int, size: int = 2) -> Layout:
    """MN-major, panels one behind the other, each 16 deep."""
    return Layout(width, True, 16 * width, 8 * width) if width else Layout(0, True, columns * size * 8, 128)


CASES = [
    ("f16", 64, along(128), along(64)),
    ("f16", 64, along(0), across(128, 64)),
    ("f16", 64, across(64, 64), along(32)),
    ("bf16", 128, across(128, 64), across(128, 128)),
    ("bf16", 40, along(64), across(32, 40)),
    ("f16", 8, along(32, 512), across(0, 8)),
    ("f16", 64, across(0, 64), across(64, 64)),
    ("tf32", 16, along(128), along(64)),
]


def _turned(kind: str, a: Layout, b: Layout) -> str:
    return "" if kind == "tf32" else f", {int(a.transposed)}, {int(b.transposed)}"


# Compiled together, which is quicker.
SOURCE = "".join(
    kernel(n, kind, _turned(kind, a, b), name=f"case_{i}") for i, (kind, n, a, b) in enumerate(CASES)
)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_products(case: int) -> None:
    kind, n, a, b = CASES[case]
    rng, dtype = np.random.default_rng(n), TYPES[kind]
    size, depth, second = np.dtype(dtype).itemsize, 32 // np.dtype(dtype).itemsize, SIZE // 2
    factors = [rng.standard_normal((rows, depth)).astype(np.float32) for rows in (64, n)]
    if kind == "tf32":
        factors = [(one.view(np.uint32) & 0xFFFFE000).view(np.float32) for one in factors]
    x, y = (one.astype(dtype) for one in factors)
    image = rng.integers(0, 256, SIZE, np.uint8)  # what is not the matrix is rubbish
    for matrix, layout, start in ((x, a, 0), (y, b, second)):
        places = layout.places(len(matrix), depth, size)
        for byte in range(size):
            image[start + places + byte] = matrix.view(np.uint8).reshape(*matrix.shape, size)[..., byte]
    given: list[Any] = [
        image.view(np.uint32),
        np.zeros(64 * n, np.float32),
        a.descriptor(),
        b.descriptor(second),
    ]
    _, found = EmulatedKernel(SOURCE, f"case_{case}").launch((1,), (128,), given, SIZE, FORWARD)
    rows, columns = sum_places(n)
    expected = (x.astype(np.float64) @ y.astype(np.float64).T)[rows, columns] + np.arange(n // 2)
    np.testing.assert_allclose(found.reshape(128, n // 2), expected, rtol=1e-5, atol=1e-4)


UNORDERED: tuple[tuple[tuple[str, ...], type[KernelFault], str], ...] = (
    ((MEET, FENCE, "PRODUCT", COMMIT, WAIT), Race, r"no fence\.proxy\.async"),
    ((SHOW, FENCE, "PRODUCT", COMMIT, WAIT), Race, "wrote since the last barrier"),
    ((SHOW, MEET, "PRODUCT", COMMIT, WAIT), Race, r"no wgmma\.fence"),
    ((*READY, "d[1] = 2;", "PRODUCT", COMMIT, WAIT), Race, r"written behind the last wgmma\.fence"),
    ((*READY, "PRODUCT", COMMIT, WAIT, "PRODUCT", COMMIT, WAIT), Race, r"no wgmma\.fence"),
    ((*READY, "PRODUCT", COMMIT, LATER), Race, "reads a register that a wgmma computes"),
    ((*READY, "PRODUCT", WAIT), Race, "reads a register that a wgmma computes"),
    ((*READY, "PRODUCT", COMMIT, "d[2] = 0;", WAIT), Race, "writes a register that a wgmma computes"),
    ((*READY, "PRODUCT", COMMIT, "memory[0] = 0;", WAIT), Race, "nothing has waited for"),
    ((*READY, "PRODUCT", COMMIT, WAIT, "memory[threadIdx.x] = 0;"), Race, "read since the last barrier"),
    ((*READY, "PRODUCT", COMMIT, "return;"), Race, "has not been waited for"),
    (
        (*READY, "if (threadIdx.x < 64) {", "PRODUCT", "}", COMMIT, WAIT),
        DivergentBarrier,
        "others of its warpgroup",
    ),
    ((*READY, "a += threadIdx.x / 64;", "PRODUCT", COMMIT, WAIT), DivergentBarrier, "unlike descriptors"),
    ((*READY, "if (threadIdx.x < 96) {", "PRODUCT", COMMIT, WAIT, "}"), Deadlock, "only 96 came"),
)
ORDERED = (
    ((*READY, "PRODUCT", COMMIT, "PRODUCT", COMMIT, LATER, WAIT), 32),
    ((*READY, "PRODUCT", "PRODUCT", COMMIT, WAIT, FENCE, "PRODUCT", COMMIT, WAIT), 48),
    ((MEET, SHOW, FENCE, "PRODUCT", COMMIT, WAIT), 16),
    ((*READY, "PRODUCT", COMMIT, WAIT, MEET, "memory[threadIdx.x] = 0;"), 16),
)
BODIES = [one[0] for one in (*UNORDERED, *ORDERED)]
ORDERS = "".join(kernel(8, "f16", ", 0, 0", body, f"body_{i}") for i, body in enumerate(BODIES))


def run(number: int, a: int = 0) -> KernelArray:
    """The sums after body ``number``, of matrices of ones."""
    given = [np.full(SIZE // 4, 0x3C003C00, np.uint32), np.zeros(64 * 8, np.float32)]
    given += [a or along(32).descriptor(), along(32).descriptor(2048)]
    kernel_ = EmulatedKernel(ORDERS, f"body_{number}")
    return kernel_.launch((1,), (128,), given, SIZE, FORWARD)[1].reshape(128, 4) - np.arange(4)


@pytest.mark.parametrize("number", range(len(ORDERED)))
def test_what_is_ordered_is_right(number: int) -> None:
    """Products of the same sums need no fence between them, and add up; either side may show what was written."""
    assert (run(len(UNORDERED) + number) == ORDERED[number][1]).all()


@pytest.mark.parametrize("number", range(len(UNORDERED)))
def test_what_is_not_ordered_is_a_fault(number: int) -> None:
    with pytest.raises(UNORDERED[number][1], match=UNORDERED[number][2]):
        run(number)


@pytest.mark.parametrize("wrong", [128, 1 << 52 << 4, 1 << 49 << 4], ids=["start", "reserved", "base offset"])
def test_descriptors_that_mean_nothing_are_refused(wrong: int) -> None:
    with pytest.raises(Misaligned, match="the descriptor of A"):
        run(len(UNORDERED), along(128).descriptor() | wrong >> 4)


def test_products_that_do_not_exist_are_not_understood() -> None:
    for source in (
        kernel(12, "f16", ", 0, 0"),
        kernel(8, "tf32", ", 0, 0"),
        kernel(8, "f16", ""),
        kernel(8, "s8", ""),
    ):
        with pytest.raises(UnknownInstruction, match="not understood"):
            EmulatedKernel(source)
