"""The token tile of each target fits its register file."""

import dataclasses

import pytest

from l0compile.errors import TargetError
from l0compile.hardware.targets import Core, load_target
from l0compile.kernels.token_tile import token_tile


@pytest.mark.parametrize("name", ["x86-64-avx2", "x86-64-avx512", "aarch64-neon", "native"])
def test_fits_registers(name: str) -> None:
    target = load_target(name)
    tile = token_tile(target)
    assert tile.rows * tile.vectors + tile.vectors + 1 <= target.registers
    assert tile.lanes % 4 == 0  # attention scores four keys at once
    assert tile.threads == target.cores


def test_gpu_is_refused() -> None:
    with pytest.raises(TargetError, match="for CPUs"):
        token_tile(load_target("cuda-sm80"))


def test_the_core_of_the_target_is_that_of_the_tile() -> None:
    target = dataclasses.replace(load_target("x86-64-avx512"), core=Core(rows=2))
    assert token_tile(target).rows == 2 and token_tile(target).core == Core(rows=2)
