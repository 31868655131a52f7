"""One kernel for a GPU by itself: generate its code, and tell what the compiler says of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from l0compile.hardware._tvm import tvm, tvm_target
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.kernels import emit
from l0compile.kernels.costs import spec_of
from l0compile.kernels.cuda.toolchain import CompiledFacts, compiled_facts, cuda_code, has_nvcc
from l0compile.lower.cuda.one_kernel import kernel_library


def build_gpu_kernel(work: KernelWorkload, schedule: object, target: Target, path: Path) -> Mapping[str, int]:
    """Write a kernel as a library at ``path``.

    For the GPU of this machine it is one of ours, with machine code. For a device behind a tracker it is one of TVM's,
    with CUDA source that the device compiles.

    Returns:
        What :func:`told` says; of TVM's only where there is an nvcc.

    Raises:
        ConfigError: no kernel does such work.
        ScheduleError: the schedule does not fit; other errors are those of the compilers.
    """
    function = emit(spec_of(work, target), target, schedule)
    if not target.device:
        library, facts = kernel_library(function, target)
        library.export(path)
        return told(facts)
    named = function.with_attr("global_symbol", "main")
    tvm.compile(named, target=tvm_target(target)).export_library(str(path))
    return told(compiled_facts(cuda_code(named, target), target)) if has_nvcc() else {"spills": 0}


def told(facts: Sequence[CompiledFacts]) -> Mapping[str, int]:
    """The facts that count of the kernels of one schedule.

    Returns:
        spills: bytes that threads store and load for registers that there were too few of. registers: of a thread.
        blocks, warps: that a multiprocessor holds of the kernel that is launched first, which does the products.
    """
    first = facts[0]
    return {
        "spills": sum(each.spill_bytes for each in facts),
        "registers": first.registers,
        "blocks": first.blocks_per_sm,
        "warps": first.blocks_per_sm * first.threads // 32,
    }
