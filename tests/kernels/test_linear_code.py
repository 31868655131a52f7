"""The machine code of the linear kernel: its accumulators stay in registers, whatever is known of the tokens."""

import pytest

from l0compile.hardware.targets import load_target
from l0compile.kernels import emit
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.token_tile import token_tile
from l0compile.measurement.tune.kernels import spills
from tests.kernels.kept_code import kept_assembly
from tests.kernels.machine_code import computing_loops, multiplications


@pytest.mark.parametrize("tail", [0, 13, None])
@pytest.mark.parametrize("block", [None, (4, 1), (4, 4), (16, 16)])
@pytest.mark.parametrize("name", ["x86-64-avx512", "x86-64-avx2", "aarch64-neon"])
def test_accumulators_stay_in_registers(name: str, block: tuple[int, int] | None, tail: int | None) -> None:
    target = load_target(name)
    tile = token_tile(target)
    rows, cols = block or (tile.rows, 1)
    spec = LinearSpec(96, 384, rows, cols, block is None, True, False, "", tail=tail)
    function = emit(spec, tile)
    code = kept_assembly(function, target)
    columns = cols if cols <= 4 else 1  # that one turn of the loop takes
    whole = [loop for loop in computing_loops(code) if multiplications(loop) >= 4 * tile.vectors * columns]
    # The first one computes all registers of a tile; those of tails come after it.
    assert whole and not spills("\n".join(whole[0]))


@pytest.mark.parametrize("tail", [1, None])
def test_only_long_rows_take_memory_from_the_heap(tail: int | None) -> None:
    """Small buffers there live as long as a task does, as pointers that take registers from the accumulators."""
    target = load_target("x86-64-avx512")
    spec = LinearSpec(96, 40, 4, 1, False, True, False, "", tail=tail)
    function = emit(spec, token_tile(target))
    code = kept_assembly(function, target)
    assert "AllocWorkspace" not in code
