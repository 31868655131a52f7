"""What is known of a compiled CUDA kernel without running it: one ``CompiledFacts`` per kernel and architecture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from l0compile.errors import BuildError
from l0compile.hardware.targets import Target, occupancy
from l0compile.kernels.cuda.toolchain.cubin import Compiled, compile_source
from l0compile.kernels.cuda.toolchain.find import find_toolchain
from l0compile.kernels.cuda.toolchain.sass import Instructions, count_instructions
from l0compile.kernels.cuda.toolchain.source import CudaCode, CudaLaunch

_ENTRY = re.compile(
    r"Compiling entry function '(\S+)' for '\S+'(.*?)(?=Compiling entry function|\Z)", re.DOTALL
)


_SERIALIZED = re.compile(r"wgmma\.mma_async instructions are serialized .* in the function '(\S+)'")


@dataclass(frozen=True)
class CompiledFacts:
    """Facts of ptxas, of the machine code, and of the limits of the architecture. Nothing was run.

    Attributes:
        kernel: name of the ``__global__`` function.
        arch: such as "sm_80" or "sm_90a".
        nvcc: version of the compiler.
        threads: of a thread block.
        registers: of a thread.
        spill_bytes: stored and loaded for registers that there were too few of; 0 is wanted.
        stack_bytes: of a thread's stack frame.
        static_shared: bytes of shared memory that the code declares.
        dynamic_shared: bytes of shared memory that the launch asks for.
        blocks_per_sm: thread blocks that a multiprocessor holds; 0: it cannot be launched.
        occupancy: warps that it then holds, of the most it could, 0 to 1.
        limit: what keeps it from holding one more block.
        instructions: counted in the machine code.
        serialized: ptxas waits for each product of a warpgroup before it begins the next.
    """

    kernel: str
    arch: str
    nvcc: str
    threads: int
    registers: int
    spill_bytes: int
    stack_bytes: int
    static_shared: int
    dynamic_shared: int
    blocks_per_sm: int
    occupancy: float
    limit: str
    instructions: Instructions
    serialized: bool


def compiled_facts(code: CudaCode, target: Target) -> tuple[CompiledFacts, ...]:
    """Compile CUDA C++ and tell the facts of each of its kernels.

    Raises:
        MissingDependency: nvcc, cuobjdump, nvdisasm or a C++ compiler is not installed.
        BuildError: nvcc refuses the code, or says nothing of a kernel.
        TargetError: the target is not a GPU.
    """
    return facts_of(compile_source(code.source, target), code.launches, target)


def facts_of(made: Compiled, launches: Sequence[CudaLaunch], target: Target) -> tuple[CompiledFacts, ...]:
    """The facts of kernels that were compiled already; errors as of ``compiled_facts``."""
    remarks, counted = dict(_ENTRY.findall(made.remarks)), count_instructions(made.cubin)
    serialized = _SERIALIZED.findall(made.remarks)
    facts = []
    for launch in launches:
        if launch.name not in remarks or launch.name not in counted:
            raise BuildError(
                f"target {target.name}: expected facts of the kernel {launch.name}, nvcc told of {sorted(remarks)}"
            )
        one = _facts(launch, remarks[launch.name], counted[launch.name], target)
        facts.append(replace(one, serialized=launch.name in serialized))
    return tuple(facts)


def _facts(launch: CudaLaunch, remarks: str, instructions: Instructions, target: Target) -> CompiledFacts:
    registers, static = _number(r"Used (\d+) registers", remarks), _number(r"(\d+) bytes smem", remarks)
    held = occupancy(target, launch.threads, registers, static + launch.dynamic_shared)
    return CompiledFacts(
        kernel=launch.name,
        arch=target.cpu,
        nvcc=find_toolchain().version,
        threads=launch.threads,
        registers=registers,
        spill_bytes=_number(r"(\d+) bytes spill stores", remarks)
        + _number(r"(\d+) bytes spill loads", remarks),
        stack_bytes=_number(r"(\d+) bytes stack frame", remarks),
        static_shared=static,
        dynamic_shared=launch.dynamic_shared,
        blocks_per_sm=held.blocks,
        occupancy=held.share,
        limit=held.limit,
        instructions=instructions,
        serialized=False,
    )


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0
