"""Linear layers on sm_90a: four warps multiply together."""

import re
from dataclasses import replace
from typing import Any

import pytest

from l0compile.errors import ScheduleError
from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.schedules import (
    check_schedule,
    cuda_cycles_bound,
    default_schedule,
    legal_schedules,
)
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule, CudaLinearSpec
from l0compile.kernels.cuda.toolchain import compiled_facts, cubin, cuda_code, cuda_source, has_nvcc
from l0compile.kernels.cuda.toolchain.sass import disassemble
from tests.kernels.cuda.linear.test_numerics import DENSE, check, layer

SM90 = load_target("cuda-sm90")
SPEC = layer(128, 128, (64, 64), "float16")
SCHEDULE = CudaLinearSchedule(128, 64, 32, 8, 1, 4, warpgroups=True)


@pytest.mark.parametrize(
    ("spec", "tokens", "changed"),
    [
        (layer(150, 200, (64, 64), "float16", order=True), 131, {}),
        pytest.param(
            layer(77, 51, DENSE, "bfloat16", "gelu", residual=True), 33, {}, marks=pytest.mark.slow
        ),  # copied through registers
        pytest.param(layer(200, 136, (128, 64), "bfloat16"), 70, {"stages": 2}, marks=pytest.mark.slow),
        pytest.param(
            layer(72, 136, DENSE, "float16"), 140, {"splits": 2, "resident": 1}, marks=pytest.mark.slow
        ),
        pytest.param(layer(96, 64, (32, 4), "float16"), 40, {"depth": 128}, marks=pytest.mark.slow),
        pytest.param(layer(96, 64, (16, 1), "bfloat16"), 40, {"depth": 16}, marks=pytest.mark.slow),
        pytest.param(
            layer(64, 128, (64, 64), "float16"), 70, {"slices": 2, "depth": 64}, marks=pytest.mark.slow
        ),
        pytest.param(layer(96, 64, (48, 1), "float16"), 0, {}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_numbers(spec: CudaLinearSpec, tokens: int, changed: dict[str, Any]) -> None:
    assert default_schedule(spec, SM90).warpgroups
    check(spec, tokens, replace(SM90, cores=1), **changed)


@pytest.mark.slow
@pytest.mark.parametrize("block", [DENSE, (128, 64)], ids=str)
def test_all_legal_schedules_are_right(block: tuple[int, int]) -> None:
    spec = layer(130, 72, block, "bfloat16")
    legal = [one for one in legal_schedules(spec, SM90) if one.warpgroups]
    for schedule in legal[:: len(legal) // 6]:
        check(spec, 70, SM90, [("random", 3)], **vars(schedule))


def descriptors(source: str) -> set[int]:
    """The fixed parts of the descriptors of a kernel, without what K-major swizzled ones do not use."""
    found = (int(number) for number in re.findall(r"(\d{16,})ULL", source))
    return {one & ~(0x3FFF << 16) if one >> 16 & 0x3FFF == 1 else one for one in found}


@pytest.mark.parametrize(
    ("block", "outputs", "depth", "expected"),
    [
        ((128, 16), 128, 64, {0x4000004000000000, 0x4000004002000000}),
        (DENSE, 128, 64, {0x4000004000000000}),
        ((64, 16), 64, 32, {0x8000002000000000, 0x4000004000000000}),
        (DENSE, 64, 32, {0x8000002000000000}),
        ((32, 16), 32, 64, {0x4000004000000000, 0x8000002000000000}),
        ((16, 16), 16, 64, {0x4000004000000000, 0xC000001000000000}),
    ],
)
def test_descriptors_are_those_of_another_compiler(
    block: tuple[int, int], outputs: int, depth: int, expected: set[int]
) -> None:
    """Triton 3.7.1 writes these for products of 64 x ``outputs`` x ``depth`` (``tl.dot`` of bfloat16, 4 warps).

    It has no panels where there is one, so their distance is left out there.
    """
    schedule = CudaLinearSchedule(64, outputs, depth, 4, 1, 3, warpgroups=True)
    found = descriptors(cuda_source(cuda_linear(layer(256, 128, block, "bfloat16"), SM90, schedule), SM90))
    if outputs <= 64:
        found = {one & ~(0x3FFF << 16) for one in found}
    assert found == expected


def test_a_tile_of_panels_has_each_chunk_once() -> None:
    tile = SharedTile(16, 32, in_panels=True)
    places = sorted(tile.place(row, chunk) for row in range(16) for chunk in range(32))
    assert places == list(range(0, tile.bytes, 16)) and tile.panel_bytes == 16 * 128
    for first, chunk in ((0, 0), (8, 17)):
        assert len({tile.place(first + row, chunk) // 16 % 8 for row in range(8)}) == 8


def test_which_layers_multiply_by_warpgroups() -> None:
    by_four = {
        dtype: default_schedule(layer(128, 128, (64, 64), dtype), SM90).warpgroups
        for dtype in ("float16", "bfloat16", "float32", "tf32")
    }
    assert by_four == {"float16": True, "bfloat16": True, "float32": False, "tf32": False}
    assert not default_schedule(replace(SPEC, few=True), SM90).warpgroups
    for name in ("cuda-sm80", "cuda-sm100"):  # no such instructions
        assert not any(one.warpgroups for one in legal_schedules(SPEC, load_target(name)))
    assert not any(one.warpgroups for one in legal_schedules(SPEC, replace(SM90, cpu="sm_90")))
    assert any(not one.warpgroups for one in legal_schedules(SPEC, SM90))


def test_a_warpgroup_reads_less_of_shared_memory() -> None:
    by_warps = default_schedule(SPEC, load_target("cuda-sm80"))
    assert cuda_cycles_bound(SCHEDULE, SM90) == 0.5 * cuda_cycles_bound(by_warps, SM90)


@pytest.mark.parametrize(
    ("spec", "changed", "message"),
    [
        (SPEC, {"token_warps": 4}, "four warps for each 64 tokens"),
        (SPEC, {"tokens": 32, "token_warps": 2}, "four warps for each 64 tokens"),
        (SPEC, {"output_warps": 2}, "one along the outputs"),
        (layer(128, 128, (64, 64), "tf32"), {"depth": 16}, "numbers of 16 bits"),
    ],
)
def test_schedules_that_warpgroups_cannot_have_are_refused(
    spec: CudaLinearSpec, changed: dict[str, int], message: str
) -> None:
    with pytest.raises(ScheduleError, match=message):
        check_schedule(spec, SM90, replace(SCHEDULE, **changed))
    with pytest.raises(ScheduleError, match="expected sm_90a"):
        check_schedule(SPEC, load_target("cuda-sm80"), SCHEDULE)


@pytest.mark.slow
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is neither on PATH nor in a wheel")
def test_products_are_begun_side_by_side() -> None:
    (facts,) = compiled_facts(cuda_code(cuda_linear(SPEC, SM90), SM90), SM90)
    assert facts.instructions.hgmma > 0 and facts.instructions.hmma == 0
    assert facts.spill_bytes == 0 and facts.occupancy >= 0.5 and not facts.serialized


def touched(listing: str) -> list[str]:
    """Instructions that name a register of the sums while products run: of the last stage in the code."""
    lines = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", listing)
    first = max(i for i, line in enumerate(lines) if "WARPGROUP.ARRIVE" in line)
    end = next(i for i in range(first, len(lines)) if "WARPGROUP.DEPBAR" in lines[i])
    sums = next(
        re.search(r"HGMMA\.64x(\d+)x16\S* R(\d+)", line) for line in lines[first:end] if "HGMMA" in line
    )
    assert sums
    mine = range(int(sums[2]), int(sums[2]) + int(sums[1]) // 2)
    others = [line for line in lines[first:end] if "HGMMA" not in line]
    return [line for line in others if any(int(number) in mine for number in re.findall(r"\bR(\d+)", line))]


@pytest.mark.slow
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is neither on PATH nor in a wheel")
@pytest.mark.parametrize("block", [DENSE, (64, 64)], ids=str)
def test_nothing_touches_sums_before_the_wait(block: tuple[int, int]) -> None:
    """To the compiler the wait has nothing to do with sums: it could move a copy of one before it."""
    source = cuda_source(cuda_linear(layer(768, 768, block, "bfloat16", "gelu"), SM90), SM90)
    listing = disassemble(cubin(source, SM90))
    assert listing.count("HGMMA") > 1 and touched(listing) == []
    assert touched(re.sub(r"(HGMMA\S* (R\d+).*?;)", r"\1\n /*0000*/ MOV R0, \2 ;", listing, count=1))


@pytest.mark.slow
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is neither on PATH nor in a wheel")
def test_products_that_wait_for_one_another_are_told() -> None:
    code = cuda_code(cuda_linear(SPEC, SM90), SM90)
    wait = "    ptx_wgmma_wait_0();\n  }\n"
    assert wait in code.source
    late = code.source.replace(wait, "  }\n  ptx_wgmma_wait_0();\n")  # behind all stages
    (facts,) = compiled_facts(replace(code, source=late), SM90)
    assert facts.serialized
