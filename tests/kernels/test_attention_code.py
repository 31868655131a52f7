"""The machine code of the attention kernel: its accumulators stay in registers, on every shipped CPU target."""

import re

import pytest

from l0compile.hardware._tvm import tvm, tvm_target
from l0compile.hardware.targets import load_target
from l0compile.kernels import emit
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.token_tile import token_tile
from tests.kernels.machine_code import VECTOR_ON_STACK, innermost_loops, multiplications

# Exponentials have one; they are no sums of products.
SHIFT = re.compile(r"\b(vpslld|shl)\b")


@pytest.mark.parametrize("window", [(None, 0), (128, 128)])
@pytest.mark.parametrize("name", ["x86-64-avx512", "x86-64-avx2", "aarch64-neon"])
def test_accumulators_stay_in_registers(name: str, window: tuple[int | None, int | None]) -> None:
    target = load_target(name)
    tile = token_tile(target)
    function = emit(AttentionSpec(4, 2, 64, 64, 0.125, *window), tile).with_attr("global_symbol", "main")
    code = tvm.compile(function, target=tvm_target(target)).mod.inspect_source("asm")
    loops = [
        loop
        for loop in innermost_loops(code)
        if multiplications(loop) >= tile.rows * tile.vectors and not any(map(SHIFT.search, loop))
    ]
    assert len(loops) >= 2  # scores and values
    assert not [line for loop in loops for line in loop if VECTOR_ON_STACK.search(line)]
