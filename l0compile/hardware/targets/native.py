"""The ``native`` target: the machine at hand, with block speeds from the closest shipped file."""

from collections.abc import Sequence

from l0compile.errors import TargetError
from l0compile.hardware.targets.host import X86_LEVELS, Host
from l0compile.hardware.targets.target import Target

_SYSTEMS = {"Linux": "{}-linux-gnu", "Darwin": "{}-apple-darwin", "Windows": "{}-pc-windows-msvc"}


def native_target(host: Host, shipped: Sequence[Target]) -> Target:
    """Return the target of ``host``.

    It names the CPU by the level of its instruction set, not by its model: the code then runs on every machine of
    that level, and on the reference machine it is as fast as code tuned for the model.

    Args:
        host: the machine.
        shipped: targets to take block speeds from, and whatever the host does not report.

    Raises:
        TargetError: none of ``shipped`` has the architecture.
    """
    cousins = [target for target in shipped if target.kind == "llvm" and target.arch == host.arch]
    if not cousins:
        known = ", ".join(sorted({target.arch for target in shipped if target.kind == "llvm"}))
        raise TargetError(
            f"target 'native': expected one of the architectures {known}, this machine is {host.arch}; "
            "write a target file for it and pass its path"
        )
    cpu, bits, registers = _vectors(host)
    base = min(cousins, key=lambda target: abs(target.vector_bits - bits))
    caches = dict(host.caches)
    return Target(
        name="native",
        kind="llvm",
        triple=_SYSTEMS.get(host.system, "{}-unknown-unknown").format(host.arch),
        cpu=cpu,
        attrs=base.attrs if base.cpu == cpu else (),
        vector_bits=bits,
        registers=registers,
        l1_bytes=caches.get(1, base.l1_bytes),
        l2_bytes=caches.get(2, base.l2_bytes),
        # Known L1 but no L3 means there is none; nothing known at all means the host does not tell.
        l3_bytes=caches.get(3, 0 if caches else base.l3_bytes),
        cores=host.cores,
        dtypes=base.dtypes,
        blocks=base.blocks,
        efficiency=base.efficiency,
        core=base.core,
        dot_products=host.dot_products,
    )


def _vectors(host: Host) -> tuple[str, int, int]:
    """Return the LLVM name of the CPU, the bits of a vector register, and their number."""
    if host.arch == "x86_64":
        bits = next(bits for name, bits, _ in X86_LEVELS if name == host.isa)
        return host.isa, bits, 32 if bits == 512 else 16
    return "generic", 128, 32
