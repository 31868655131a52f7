"""The machine code of the convolution kernel: its accumulators stay in registers, on every shipped CPU target."""

import pytest

from l0compile.hardware.targets import load_target
from l0compile.ir.ops.planes import Planes
from l0compile.kernels import emit
from l0compile.kernels.cpu.conv import ConvSpec
from l0compile.kernels.token_tile import token_tile
from tests.kernels.kept_code import kept_assembly
from tests.kernels.machine_code import VECTOR_ON_STACK, computing_loops, multiplications


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("name", ["x86-64-avx512", "x86-64-avx2", "aarch64-neon"])
def test_accumulators_stay_in_registers(name: str, dense: bool) -> None:
    target, planes = load_target(name), Planes.bordered(14, 14, 15, 16, 232)
    spec = ConvSpec(64, 576 if dense else 0, 4, 64, planes.size, planes, dense, True, True, "relu")
    function = emit(spec, token_tile(target))
    code = kept_assembly(function, target)
    loops = computing_loops(code)
    # The whole tile: four rows times its registers.
    tile = token_tile(target)
    assert any(multiplications(loop) >= 4 * tile.vectors for loop in loops)
    assert not [line for loop in loops for line in loop if VECTOR_ON_STACK.search(line)]
