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
from l0compile.kernels.definition import KernelDef
from l0compile.kernels.registry import KERNELS
from l0compile.kernels.token_tile import TokenTile, token_tile

_COSTED = {kernel.name: kernel for kernel in KERNELS if kernel.costs is not None}


@functools.cache
def counted_kernels(core: Core) -> tuple[CountedKernel, ...]:
    """What the cost model asks of all kernels whose costs are recorded; ``core``: what their code is made for."""
    return tuple(
        CountedKernel(name, kernel.costs.counts, kernel.costs.words, versions_of(kernel.stamp(core)))
        for name, kernel in _COSTED.items()
        if kernel.costs is not None
    )


def costs_of(target: Target) -> Costs | None:
    """What is known of kernels on ``target``; None where nothing is. On a GPU all is predicted."""
    if target.kind == "cuda":
        return gpu_costs(target)
    tile = token_tile(target)
    return known_costs(target, tile.lanes, tile.vector, counted_kernels(target.core))


def place_of(target: Target, op: str, threads: int | None = None) -> CostPlace | None:
    """Where times of the kernel ``op`` for ``target`` hold; None when its code runs neither here nor on its devices.

    Args:
        target: what the code is made for.
        op: name of the kernel.
        threads: that share the work; default: the cores of the target.
    """
    return place(target, versions_of(costed_kernel(op).stamp(target.core)), threads)


def costed_kernel(op: str) -> KernelDef:
    """The kernel whose records are called ``op``.

    Raises:
        ConfigError: there is none, or its costs are not recorded.
    """
    if op not in _COSTED:
        raise ConfigError(f"costs: expected one of the kernels {', '.join(_COSTED)}, got {op!r}")
    return _COSTED[op]


def spec_of(workload: KernelWorkload, tile: TokenTile) -> object:
    """A spec with that workload; what does not change its time (a bias, the value of epsilon) is made up.

    Raises:
        ConfigError: no kernel does such work.
    """
    kernel = _COSTED.get(workload.op)
    spec = kernel.costs.spec(workload, tile) if kernel and kernel.costs else None
    if spec is None:
        raise ConfigError(f"costs: no kernel does {workload}")
    return spec
