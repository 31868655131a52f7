"""The machine code of the convolution kernel: its accumulators stay in registers, on every shipped CPU target."""

import re

import pytest

from l0compile._tvm import tvm, tvm_target
from l0compile.kernels import ConvSpec, emit
from l0compile.ops.planes import Planes
from l0compile.schedule import token_tile
from l0compile.targets import load_target

LABEL = re.compile(r"(\.L\w+):")
JUMP = re.compile(r"\b(?:j\w+|b\.\w+|cbn?z\s+\w+,)\s+(\.L\w+)")
MULTIPLY_ADD = re.compile(r"\b(vfn?madd\w+ps|fmla)\b")
VECTOR_ON_STACK = re.compile(r"%[xyz]mm\d+.*\(%r[sb]p|\(%r[sb]p\).*%[xyz]mm|\bq\d+.*\[sp")


def innermost_loops(code: str) -> list[list[str]]:
    """The lines of each loop without another one inside."""
    lines, labels, loops = code.splitlines(), dict[str, int](), list[tuple[int, int]]()
    for number, line in enumerate(lines):
        if label := LABEL.match(line):
            labels[label[1]] = number
        elif (jump := JUMP.search(line)) and jump[1] in labels:
            loops.append((labels[jump[1]], number))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [lines[start:end] for start, end in inner]


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("name", ["x86-64-avx512", "x86-64-avx2", "aarch64-neon"])
def test_accumulators_stay_in_registers(name: str, dense: bool) -> None:
    target, planes = load_target(name), Planes.bordered(14, 14, 15, 16, 232)
    spec = ConvSpec(64, 576 if dense else 0, 4, 64, planes.size, planes, dense, True, True, "relu")
    function = emit(spec, token_tile(target)).with_attr("global_symbol", "main")
    code = tvm.compile(function, target=tvm_target(target)).mod.inspect_source("asm")
    loops = [loop for loop in innermost_loops(code) if any(map(MULTIPLY_ADD.search, loop))]
    # The whole tile: four rows times its registers.
    tile = token_tile(target)
    assert any(sum(map(bool, map(MULTIPLY_ADD.search, loop))) >= 4 * tile.vectors for loop in loops)
    assert not [line for loop in loops for line in loop if VECTOR_ON_STACK.search(line)]
