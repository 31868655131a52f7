"""One kernel by itself: generate its code and look at it."""

import re
from pathlib import Path

from l0compile.hardware._tvm import tvm, tvm_target
from l0compile.hardware.costs import Work
from l0compile.hardware.targets import Target
from l0compile.kernels import emit
from l0compile.kernels.spec import LinearSchedule, TokenTile
from l0compile.kernels.work import spec_of

# A register stored to the stack: accumulators that did not fit. (AT&T syntax; NEON spills as `str q0, [sp, #16]`.)
_SPILL = re.compile(r"\tvmov[a-z0-9]+\s+%[xyz]mm\d+, -?\d*\(%r[sb]p\)|\tst[rp]\s+q\d+.*\[sp")


def build_kernel(
    work: Work, schedule: LinearSchedule | None, tile: TokenTile, target: Target, path: Path
) -> int:
    """Write a kernel as a shared library at ``path``; returns the registers that its code stores to the stack.

    Raises: ScheduleError for a schedule that does not fit, and whatever the code generator raises.
    """
    function = emit(spec_of(work, tile), tile, schedule).with_attr("global_symbol", "main")
    executable = tvm.compile(function, target=tvm_target(target))
    executable.export_library(str(path))
    return spills(executable.mod.inspect_source("asm"))


def spills(assembly: str) -> int:
    """How many vector registers the code stores to the stack."""
    return len(_SPILL.findall(assembly))
