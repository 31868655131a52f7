"""Costs of kernels: what their definitions tell the cost model."""

import functools

from l0compile.errors import ConfigError
from l0compile.hardware.costs import (
    CostPlace,
    Costs,
    CountedKernel,
    KernelWorkload,
    gpu_costs,
    known_costs,
    place,
    versions_of,
)
from l0compile.hardware.targets import Core, Target
from l0compile.kernels.cuda.toolchain import compiler_stamp
from l0compile.kernels.definition import KernelDef
from l0compile.kernels.registry import KERNELS, kind_of
from l0compile.kernels.token_tile import TokenTile, token_tile

_COSTED = {
    kind: {kernel.op or kernel.name: kernel for kernel in KERNELS if kernel.costs and kernel.kind == kind}
    for kind in ("llvm", "cuda")
}


def machine_of(target: Target) -> TokenTile | Target:
    """What kernels for ``target`` are emitted for: the token tile of a CPU, or the target that is a GPU."""
    return target if target.kind == "cuda" else token_tile(target)


def threads_of(machine: TokenTile | Target) -> int:
    """How many threads share the work of a kernel; on a GPU multiprocessors do."""
    return machine.cores if isinstance(machine, Target) else machine.threads


@functools.cache
def counted_kernels(core: Core, kind: str = "llvm") -> tuple[CountedKernel, ...]:
    """What the cost model asks of all kernels whose costs are recorded; ``core``: what their code is made for."""
    return tuple(
        CountedKernel(op, kernel.costs.counts, kernel.costs.words, versions(kernel, core))
        for op, kernel in _COSTED[kind].items()
        if kernel.costs is not None
    )


def versions(kernel: KernelDef, core: Core) -> str:
    """The compilers and the code that times of ``kernel`` hold for."""
    stamp = kernel.stamp(core)
    return versions_of(stamp if kernel.kind == "llvm" else f"{compiler_stamp()}; {stamp}")


def costs_of(target: Target) -> Costs | None:
    """What is known of kernels on ``target``; None where nothing is. On a GPU what was not measured is predicted."""
    if target.kind == "cuda":
        known = (
            place(target, "") is not None
        )  # else there are no records, and no need of nvcc to tell its version
        return gpu_costs(target, counted_kernels(target.core, "cuda") if known else ())
    tile = token_tile(target)
    return known_costs(target, tile.lanes, tile.vector, counted_kernels(target.core))


def place_of(target: Target, op: str, threads: int | None = None) -> CostPlace | None:
    """Where times of the kernel ``op`` for ``target`` hold; None when its code runs neither here nor on its devices.

    Args:
        target: what the code is made for.
        op: name of the kernel.
        threads: that share the work; default: the cores of the target.
    """
    return place(target, versions(costed_kernel(op, target.kind), target.core), threads)


def costed_kernel(op: str, kind: str = "llvm") -> KernelDef:
    """The kernel for targets of ``kind`` whose records are called ``op``.

    Raises:
        ConfigError: there is none, or its costs are not recorded.
    """
    if op not in _COSTED[kind]:
        raise ConfigError(f"costs: expected one of the kernels {', '.join(_COSTED[kind])}, got {op!r}")
    return _COSTED[kind][op]


def spec_of(workload: KernelWorkload, machine: TokenTile | Target) -> object:
    """A spec with that workload; what does not change its time (a bias, the value of epsilon) is made up.

    Raises:
        ConfigError: no kernel does such work.
    """
    kernel = _COSTED[kind_of(machine)].get(workload.op)
    spec = kernel.costs.spec(workload, machine) if kernel and kernel.costs else None
    if spec is None:
        raise ConfigError(f"costs: no kernel does {workload}")
    return spec
