"""What goes to the code generator, and the code that comes out, for every CPU target."""

import re
from typing import Any

import pytest

from l0compile.errors import BuildError
from l0compile.hardware._tvm import tirx
from l0compile.hardware.targets import load_target
from l0compile.ir.program import Program
from l0compile.kernels.cpu.lanes import SCHEDULED
from l0compile.kernels.token_tile import token_tile
from l0compile.lower.translate import translate
from l0compile.lower.tvm.build import build, check_scheduled, scheduled
from l0compile.rewrite.pipeline import assign_layouts, optimise

FMA = {
    "x86-64-avx2": r"vfmadd\S+\s+.*%ymm",
    "x86-64-avx512": r"vfmadd\S+\s+.*%zmm",
    "aarch64-neon": r"fmla\s+v\d+\.4s",
}


def lowered(program: Program, name: str) -> Any:
    target = load_target(name)
    tile = token_tile(target)
    packed = assign_layouts(optimise(program, target), lanes=tile.lanes, rows=tile.rows)
    return translate(packed, tile).module, target, tile


def assembly(module: Any) -> str:
    own = module.inspect_source("asm") if module.kind == "llvm" else ""
    return own + "".join(assembly(imported) for imported in module.imports)


@pytest.mark.parametrize("name", FMA)
def test_code_for_every_cpu_target(program: Program, name: str) -> None:
    code = assembly(build(*lowered(program, name), in_pieces=False).code.module)
    assert len(re.findall(FMA[name], code)) > 50  # the microkernels are vectors of fused multiply-adds
    calls = set(re.findall(r"\b(?:callq?|bl|jmp|b)\s+([a-zA-Z_]\w*)", code))
    assert not [c for c in calls if re.fullmatch(r"(exp|erf|tanh|log|pow|sqrt)f?", c)]


def test_everything_is_scheduled_and_alias_free(program: Program) -> None:
    module = scheduled(*lowered(program, "native")).module
    functions = [f for f in module.functions.values() if isinstance(f, tirx.PrimFunc)]
    assert len(functions) > 5
    assert all(f.attrs["tirx.noalias"] for f in functions)


def test_an_unscheduled_function_is_refused(program: Program) -> None:
    module, _, _ = lowered(program, "native")
    name, function = next((n, f) for n, f in module.functions.items() if isinstance(f, tirx.PrimFunc))
    module[name] = function.without_attr(SCHEDULED)
    with pytest.raises(BuildError, match="has no schedule"):
        check_scheduled(module)


def test_one_kernel_serves_layers_of_one_shape(program: Program) -> None:
    module, _, _ = lowered(program, "native")
    names = [n.name_hint for n, f in module.functions.items() if isinstance(f, tirx.PrimFunc)]
    # q, k and v share a kernel; o, up, down and out have their own.
    assert sum(n.startswith("linear") for n in names) == 5
