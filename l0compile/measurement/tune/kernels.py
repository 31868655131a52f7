"""One kernel by itself: generate its code and look at it."""

import re
from pathlib import Path
from typing import Any

from l0compile.hardware._tvm import tvm, tvm_target
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.kernels import TokenTile, emit
from l0compile.kernels.costs import spec_of

# A register stored to the stack: accumulators that did not fit. (AT&T syntax; NEON spills as `str q0, [sp, #16]`.)
_SPILL = re.compile(r"\tvmov[a-z0-9]+\s+%[xyz]mm\d+, -?\d*\(%r[sb]p\)|\tst[rp]\s+q\d+.*\[sp")


def build_kernel(work: KernelWorkload, schedule: Any, tile: TokenTile, target: Target, path: Path) -> int:
    """Write a kernel as a shared library at ``path``; return how many registers its code stores to the stack.

    Raises:
        ConfigError: no kernel does such work.
        ScheduleError: the schedule does not fit; other errors are those of the code generator.
    """
    function = emit(spec_of(work, tile), tile, schedule).with_attr("global_symbol", "main")
    executable = tvm.compile(function, target=tvm_target(target))
    executable.export_library(str(path))
    return spills(executable.mod.inspect_source("asm"))


def spills(assembly: str) -> int:
    """How many vector registers the code stores to the stack."""
    return len(_SPILL.findall(assembly))
