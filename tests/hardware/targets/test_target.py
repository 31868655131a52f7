"""Block efficiency: listed shapes, divisible shapes, shapes without a kernel."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.hardware.targets import Target, list_targets, load_target

SHIPPED = [name for name in list_targets() if name != "native"]


@pytest.fixture(scope="module")
def avx512() -> Target:
    return load_target("x86-64-avx512")


def test_a_target_is_frozen_and_can_key_a_cache(avx512: Target) -> None:
    assert {avx512: 1}[load_target("x86-64-avx512")] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        avx512.cores = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "lanes"),
    [("x86-64-avx2", 8), ("x86-64-avx512", 16), ("aarch64-neon", 4), ("cuda-sm80", 32), ("cuda-sm90", 32)],
)
def test_lanes(name: str, lanes: int) -> None:
    assert load_target(name).lanes32 == lanes


def test_measured_efficiencies(avx512: Target) -> None:
    assert [avx512.block_efficiency(4, 1), avx512.block_efficiency(2, 1), avx512.block_efficiency(1, 1)] == [
        1.0,
        0.7,
        0.4,
    ]
    assert avx512.block_efficiency(1, 4) == 0.4


def test_unlisted_shapes_run_as_the_fastest_listed_divisor(avx512: Target) -> None:
    assert avx512.block_efficiency(12, 5) == avx512.block_efficiency(4, 1)
    assert avx512.block_efficiency(6, 3) == avx512.block_efficiency(2, 1)
    assert avx512.block_efficiency(3, 7) == avx512.block_efficiency(1, 1)


def test_a_gpu_has_no_kernel_for_fine_blocks() -> None:
    target = load_target("cuda-sm80")
    assert target.block_efficiency(4, 1) == 0.0
    assert target.block_efficiency(96, 32) == target.block_efficiency(32, 32) > 0


@given(st.sampled_from(SHIPPED), st.integers(1, 64), st.integers(1, 64), st.integers(1, 4))
def test_coarser_blocks_are_never_slower(name: str, rows: int, cols: int, factor: int) -> None:
    target = load_target(name)
    if (rows * factor, cols) not in target.blocks:
        assert target.block_efficiency(rows * factor, cols) >= target.block_efficiency(rows, cols)


@pytest.mark.parametrize("name", SHIPPED)
def test_blocks_are_ordered_best_first(name: str) -> None:
    target = load_target(name)
    speeds = [target.block_efficiency(*block) for block in target.blocks]
    assert speeds == sorted(speeds, reverse=True)
    assert [block for block, _ in target.efficiency] == list(target.blocks)
