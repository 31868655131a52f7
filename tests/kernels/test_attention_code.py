"""The machine code of the attention kernel: its accumulators stay in registers, on every shipped CPU target."""

import re

import pytest

from l0compile.hardware.targets import load_target
from l0compile.kernels import emit
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.token_tile import token_tile
from tests.kernels.kept_code import kept_assembly
from tests.kernels.machine_code import VECTOR_ON_STACK, innermost_loops, multiplications

# Exponentials have one; they are no sums of products.
SHIFT = re.compile(r"\b(vpslld|shl)\b")


ONE = ListAxes(False, False)
OWN = AttentionSpec(4, 2, 64, 64, 0.125)
SPECS = {
    "all keys": (AttentionSpec(4, 2, 64, 64, 0.125, None, 0), 2),
    "a window": (AttentionSpec(4, 2, 64, 64, 0.125, 128, 128), 2),
    "blocks": (BlockAttentionSpec(OWN, 64, 64, ONE, ONE, ONE), 2),
    "columns": (BlockAttentionSpec(OWN, 64, 64, columns=ONE), 2),
    "all lists": (BlockAttentionSpec(OWN, 64, 64, ONE, ONE, ONE, ONE), 4),
}
"""What is computed -> spec, and how many loops compute: scores and values, of blocks and of columns."""


@pytest.mark.parametrize("keys", SPECS)
@pytest.mark.parametrize("name", ["x86-64-avx512", "x86-64-avx2", "aarch64-neon"])
def test_accumulators_stay_in_registers(name: str, keys: str) -> None:
    target, (spec, least) = load_target(name), SPECS[keys]
    tile = token_tile(target)
    function = emit(spec, tile)
    code = kept_assembly(function, target)
    loops = [
        loop
        for loop in innermost_loops(code)
        if multiplications(loop) >= tile.rows * tile.vectors and not any(map(SHIFT.search, loop))
    ]
    assert len(loops) >= least
    assert not [line for loop in loops for line in loop if VECTOR_ON_STACK.search(line)]
