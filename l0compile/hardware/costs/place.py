"""The place of a measurement: which processor, how many threads, which compiler and code."""

import importlib.metadata
from collections.abc import Sequence

from l0compile.hardware.costs.record import CostPlace
from l0compile.hardware.targets import Card, Host, Target, host_supports, read_cards, read_host, runs_on


def place(
    target: Target, versions: str, threads: int | None = None, host: Host | None = None
) -> CostPlace | None:
    """Where code made for ``target`` runs; None when that is neither here nor on devices of a farm.

    Args:
        target: what the code is made for.
        versions: compiler and code, see ``versions_of``.
        threads: that share the work; default: the cores of the target, on a GPU its multiprocessors.
        host: default: this machine.
    """
    host = host or read_host()
    if not (target.device or host_supports(target, host) is None):
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

    A GPU is told by the name of its card, which tells its memory too. Of devices behind a tracker only the name is
    known.
    """
    code = "".join((target.cpu, *target.attrs))
    if target.device:
        return f"device {target.device}; {code}"
    if target.kind == "cuda":
        return f"{card_of(target, read_cards())}; {code}"
    caches = ", ".join(f"L{level} {size >> 10} KiB" for level, size in host.caches)
    return "; ".join(filter(None, (f"{host.arch} {host.model}", host.family, caches, code)))


def card_of(target: Target, cards: Sequence[Card]) -> str:
    """The name of the first card that runs code for a GPU."""
    return next((card.name for card in cards if runs_on(target.cpu, card.cpu)), "an unknown card")
