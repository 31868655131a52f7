"""The place of a measurement: which processor, how many threads, which compiler and code."""

import importlib.metadata

from l0compile.hardware.costs.record import CostPlace
from l0compile.hardware.targets import Host, Target, host_supports, read_host


def place(
    target: Target, versions: str, threads: int | None = None, host: Host | None = None
) -> CostPlace | None:
    """Where code made for ``target`` runs; None when that is neither here nor on devices of a farm.

    Args:
        target: what the code is made for.
        versions: compiler and code, see ``versions_of``.
        threads: that share the work; default: the cores of the target.
        host: default: this machine.
    """
    host = host or read_host()
    if target.kind != "llvm" or not (target.device or host_supports(target, host) is None):
        return None
    return CostPlace(device(target, host), threads or target.cores, versions)


def versions_of(stamp: str) -> str:
    """The installed compiler, and the code that ``stamp`` stands for."""
    try:
        tvm = importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        tvm = "none"
    return f"apache-tvm {tvm}; {stamp}"


def device(target: Target, host: Host) -> str:
    """The processor and the instructions that are used of it. Not the number of cores: that is the threads.

    Of devices behind a tracker only the name is known.
    """
    code = "".join((target.cpu, *target.attrs))
    if target.device:
        return f"device {target.device}; {code}"
    caches = ", ".join(f"L{level} {size >> 10} KiB" for level, size in host.caches)
    return "; ".join(filter(None, (f"{host.arch} {host.model}", host.family, caches, code)))
