"""mma.sp of the emulation against the tables of the PTX ISA, written down once more in NumPy.

Metadata is laid out as in "Matrix fragments for sparse mma.m16n8k32 with .f16 and .bf16 types". TVM's test of this
instruction, which runs on GPUs, has the same words (``test_mma_sp_m16n8k32_f16`` in ``test_tir_ptx_mma_sp.py``).
"""

import ml_dtypes
import numpy as np
import pytest

from l0compile.kernels.cuda.emulation.faults import UndefinedOperand, UnknownInstruction
from l0compile.kernels.cuda.emulation.kernel import EmulatedKernel, KernelArray, poisoned
from tests.kernels.cuda.emulation.test_fragments import Shape, a_places, b_places, c_places, registers

F32 = np.float32
NUMBERS = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}


def source(kind: str, selector: int) -> str:
    names = ["{" + ", ".join(f"%{4 * i + j}" for j in range(4)) + "}" for i in range(3)]
    reads = ", ".join(f'"r"({m}[threadIdx.x * 4 + {i}])' for m in "ab" for i in range(4))
    code = (
        f"mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.{kind}.{kind}.f32 "
        f"{names[0]}, {names[1]}, {names[2]}, {names[0]}, %12, {selector};"
    )
    sums = ", ".join(f'"+r"(d[{i}])' for i in range(4))
    return f"""
extern "C" __global__ void product(unsigned* a, unsigned* b, unsigned* c, unsigned* places, unsigned* result) {{
  unsigned d[4];
  for (int i = 0; i < 4; ++i) d[i] = c[threadIdx.x * 4 + i];
  asm volatile("{code}" : {sums} : {reads}, "r"(places[threadIdx.x]));
  for (int i = 0; i < 4; ++i) result[threadIdx.x * 4 + i] = d[i];
}}"""


def metadata(chosen: KernelArray, selector: int, other: int) -> KernelArray:
    """Words of the lanes that ``selector`` names, from places [16, 8, 2]; other lanes have ``other``."""
    words = np.full(32, other, np.uint32)
    for row in range(8):
        for half in range(2):
            numbers = [
                *chosen[row, 4 * half : 4 * half + 4].ravel(),
                *chosen[row + 8, 4 * half : 4 * half + 4].ravel(),
            ]
            words[row * 4 + 2 * selector + half] = sum(int(place) << 2 * i for i, place in enumerate(numbers))
    return words


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("kind", NUMBERS)
def test_mma_sp_multiplies_what_the_tables_say(kind: str, selector: int) -> None:
    rng, numbers = np.random.default_rng(selector), NUMBERS[kind]
    kept, b = rng.standard_normal((16, 16)).astype(numbers), rng.standard_normal((32, 8)).astype(numbers)
    c = rng.standard_normal((16, 8)).astype(F32)
    chosen = np.sort(rng.permuted(np.broadcast_to(np.arange(4), (16, 8, 4)), axis=2)[..., :2], axis=2)
    whole = np.zeros((16, 8, 4))
    np.put_along_axis(whole, chosen, kept.astype(np.float64).reshape(16, 8, 2), 2)
    dense = Shape("", 16, 16, numbers, numbers, F32)  # what is kept lies as a dense matrix of 16 columns
    rows, columns = b_places(Shape("", 16, 16, numbers, numbers, F32))
    low, high = registers(b, (rows, columns)), registers(b, (rows + 16, columns))
    d = registers(c, c_places(dense))
    given = [registers(kept, a_places(dense)), np.concatenate([low, high], 1), d]
    places = metadata(chosen, selector, 0)  # zeros would be wrong, where they were read
    emulated = EmulatedKernel(source(kind, selector), "product")
    result = emulated.launch((1,), (32,), [*given, places, poisoned(d.shape, d.dtype)])[4]
    expected = (whole.reshape(16, 32) @ b.astype(np.float64) + c)[c_places(dense)]
    np.testing.assert_allclose(result.view(F32).reshape(32, -1), expected, rtol=2e-6, atol=2e-5)
    with pytest.raises(UndefinedOperand, match="have to ascend"):
        emulated.launch((1,), (32,), [*given, places[::-1].copy(), poisoned(d.shape, d.dtype)])


@pytest.mark.parametrize(
    ("text", "instead"),
    [("%12, 0;", "%12, 2;"), ("::ordered_metadata", ""), ("m16n8k32", "m16n8k16"), (", %7}", "}")],
)
def test_what_it_does_not_know_is_refused(text: str, instead: str) -> None:
    code = source("f16", 0)
    assert text in code
    with pytest.raises(UnknownInstruction):
        EmulatedKernel(code.replace(text, instead, 1), "product")
