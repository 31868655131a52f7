"""mma and ldmatrix against the tables of the PTX ISA, written down once more in NumPy (section "Matrix fragments")."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from l0compile.kernels.cuda.emulation.kernel import EmulatedKernel, KernelArray, poisoned

LANES = np.arange(32)


@dataclass(frozen=True)
class Shape:
    """One mma: its name and the types of its matrices in NumPy."""

    name: str
    m: int
    k: int
    a: Any
    b: Any
    d: Any


BF16, F16, F32, S8, U8, S32 = ml_dtypes.bfloat16, np.float16, np.float32, np.int8, np.uint8, np.int32
SHAPES = (
    Shape("m16n8k16.row.col.f32.f16.f16.f32", 16, 16, F16, F16, F32),
    Shape("m16n8k16.row.col.f16.f16.f16.f16", 16, 16, F16, F16, F16),
    Shape("m16n8k8.row.col.f32.f16.f16.f32", 16, 8, F16, F16, F32),
    Shape("m16n8k8.row.col.f16.f16.f16.f16", 16, 8, F16, F16, F16),
    Shape("m16n8k16.row.col.f32.bf16.bf16.f32", 16, 16, BF16, BF16, F32),
    Shape("m16n8k8.row.col.f32.bf16.bf16.f32", 16, 8, BF16, BF16, F32),
    Shape("m16n8k8.row.col.f32.tf32.tf32.f32", 16, 8, F32, F32, F32),
    Shape("m16n8k4.row.col.f32.tf32.tf32.f32", 16, 4, F32, F32, F32),
    Shape("m16n8k32.row.col.s32.s8.s8.s32", 16, 32, S8, S8, S32),
    Shape("m16n8k32.row.col.s32.u8.s8.s32", 16, 32, U8, S8, S32),
    Shape("m16n8k32.row.col.s32.s8.u8.s32", 16, 32, S8, U8, S32),
    Shape("m16n8k16.row.col.s32.s8.s8.s32", 16, 16, S8, S8, S32),
    Shape("m8n8k16.row.col.s32.u8.u8.s32", 8, 16, U8, U8, S32),
)


def a_places(shape: Shape) -> tuple[KernelArray, KernelArray]:
    """Row and column of element i of A in each lane, [32, elements], from the ISA's text for each shape."""
    group, thread = LANES[:, None] >> 2, LANES[:, None] % 4
    i = np.arange(shape.m * shape.k // 32)[None]
    match (np.dtype(shape.a).itemsize, shape.m, shape.k):
        case (2, 16, 16):
            return group + 8 * (((i >= 2) & (i < 4)) | (i >= 6)), thread * 2 + (i & 1) + 8 * (i >= 4)
        case (2, 16, 8):
            return group + 8 * (i >= 2), thread * 2 + (i & 1)
        case (4, 16, 8):
            return group + 8 * ((i == 1) | (i == 3)), thread + 4 * (i >= 2)
        case (4, 16, 4):
            return group + 8 * (i == 1), thread + 0 * i
        case (1, 16, 32):
            low = ((i >= 0) & (i < 4)) | ((i >= 8) & (i < 12))
            return group + 8 * ~low, thread * 4 + (i & 3) + 16 * (i >= 8)
        case (1, 16, 16):
            return group + 8 * (i >= 4), thread * 4 + (i & 3)
        case (1, 8, 16):
            return group + 0 * i, thread * 4 + (i & 3)
    raise AssertionError(shape)


def b_places(shape: Shape) -> tuple[KernelArray, KernelArray]:
    """Row and column of element i of B in each lane."""
    group, thread = LANES[:, None] >> 2, LANES[:, None] % 4
    i = np.arange(8 * shape.k // 32)[None]
    match np.dtype(shape.b).itemsize:
        case 2:
            return thread * 2 + (i & 1) + 8 * (i >= 2), group + 0 * i
        case 4:
            return thread + 4 * i, group + 0 * i
    return thread * 4 + (i & 3) + 16 * (i >= 4), group + 0 * i


def c_places(shape: Shape) -> tuple[KernelArray, KernelArray]:
    """Row and column of element i of C and D in each lane."""
    i = np.arange(shape.m * 8 // 32)[None]
    return (LANES[:, None] >> 2) + 8 * (i >= 2), (LANES[:, None] % 4) * 2 + (i & 1)


def registers(matrix: KernelArray, places: tuple[KernelArray, KernelArray]) -> KernelArray:
    """The 32-bit registers of each lane, [32, registers]."""
    return np.ascontiguousarray(matrix[places]).view(np.uint32)


def kernel(shape: Shape) -> str:
    name = "mma_" + shape.name.replace(".", "_")
    counts = [shape.m * 8 * np.dtype(shape.d).itemsize // 128] * 2
    counts[1:1] = [
        shape.m * shape.k * np.dtype(shape.a).itemsize // 128,
        8 * shape.k * np.dtype(shape.b).itemsize // 128,
    ]
    starts = np.cumsum([0, *counts])
    groups = ["{" + ", ".join(f"%{i}" for i in range(a, b)) + "}" for a, b in pairwise(starts)]
    outputs = ", ".join(f'"=r"(d[{i}])' for i in range(counts[0]))
    inputs = ", ".join(
        f'"r"({which}[threadIdx.x * {count} + {i}])'
        for which, count in zip("abc", counts[1:], strict=True)
        for i in range(count)
    )
    return f"""
extern "C" __global__ void {name}(unsigned* a, unsigned* b, unsigned* c, unsigned* result) {{
  unsigned d[{counts[0]}];
  asm volatile("mma.sync.aligned.{shape.name} {", ".join(groups)};"
               : {outputs} : {inputs});
  for (int i = 0; i < {counts[0]}; ++i) result[threadIdx.x * {counts[0]} + i] = d[i];
}}"""


SOURCE = "\n".join(map(kernel, SHAPES))


def random(rng: np.random.Generator, size: tuple[int, int], dtype: Any) -> KernelArray:
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, size, dtype, endpoint=True)
    return rng.standard_normal(size).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_mma_multiplies_what_the_tables_say(shape: Shape) -> None:
    rng = np.random.default_rng(shape.k)
    a, b = random(rng, (shape.m, shape.k), shape.a), random(rng, (shape.k, 8), shape.b)
    c = rng.integers(-1000, 1000, (shape.m, 8), S32) if shape.d == S32 else random(rng, (shape.m, 8), shape.d)
    if shape.a == F32:  # the unit reads the upper 19 bits
        a, b = ((x.view(np.uint32) & 0xFFFFE000).view(F32) for x in (a, b))
    d = registers(c, c_places(shape))
    emulated = EmulatedKernel(SOURCE, "mma_" + shape.name.replace(".", "_"))
    given = [registers(a, a_places(shape)), registers(b, b_places(shape)), d, poisoned(d.shape, d.dtype)]
    result = emulated.launch((1,), (32,), given)[3].view(shape.d).reshape(32, -1)
    expected = (a.astype(np.float64) @ b.astype(np.float64) + c.astype(np.float64))[c_places(shape)]
    bound = {S32: 0, F32: 2e-6, F16: 1e-2}[shape.d]
    np.testing.assert_allclose(result.astype(np.float64), expected, rtol=bound, atol=bound * 8)


def test_every_place_of_a_matrix_is_held_once() -> None:
    for shape in SHAPES:
        for places, size in (
            (a_places, (shape.m, shape.k)),
            (b_places, (shape.k, 8)),
            (c_places, (shape.m, 8)),
        ):
            rows, columns = places(shape)
            assert sorted(zip(rows.ravel(), columns.ravel(), strict=True)) == list(np.ndindex(size))


def loading(count: int, trans: str) -> str:
    form = f"ldmatrix.sync.aligned.m8n8.x{count}{'.' + trans if trans else ''}.shared.b16"
    registers = ", ".join(f"%{i}" for i in range(count))
    outputs = ", ".join(f'"=r"(d[{i}])' for i in range(count))
    return f"""
extern "C" __global__ void load_x{count}{trans}(unsigned short* from, unsigned* result) {{
  __shared__ __align__(16) unsigned short rows[{count * 8} * 16];
  for (int i = threadIdx.x; i < {count * 8} * 16; i += 32) rows[i] = from[i];
  __syncthreads();
  unsigned d[{count}];
  unsigned row = (threadIdx.x * 5) % {count * 8};
  unsigned address = __cvta_generic_to_shared(&rows[row * 16 + 8 * (threadIdx.x % 2)]);
  asm volatile("{form} {{{registers}}}, [%{count}];" : {outputs} : "r"(address));
  for (int i = 0; i < {count}; ++i) result[threadIdx.x * {count} + i] = d[i];
}}"""


LDMATRIX = "\n".join(loading(count, trans) for count in (1, 2, 4) for trans in ("", "trans"))


@pytest.mark.parametrize("trans", ["", "trans"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix_loads_what_the_table_says(count: int, trans: str) -> None:
    rng = np.random.default_rng(count)
    rows = rng.integers(0, 1 << 16, (count * 8, 16), np.uint16)
    # Lane l names a row of matrix l / 8: here row 5 l, its first or second half.
    lanes = np.arange(count * 8)
    matrices = np.stack([rows[lane * 5 % (count * 8), lane % 2 * 8 :][:8] for lane in lanes]).reshape(
        count, 8, 8
    )
    if trans:
        matrices = matrices.transpose(0, 2, 1)
    # Thread T holds, of each matrix, row T / 4, elements 2 (T % 4) and the next.
    expected = np.stack([m.reshape(32, 2).copy().view(np.uint32)[:, 0] for m in matrices], axis=1)
    emulated = EmulatedKernel(LDMATRIX, f"load_x{count}{trans}")
    result = emulated.launch((1,), (32,), [rows, poisoned((32, count), np.uint32)])[1]
    np.testing.assert_array_equal(result, expected)
