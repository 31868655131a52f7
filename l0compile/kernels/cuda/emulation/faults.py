"""What the emulation finds wrong with a kernel, each as a type of its own."""

from collections.abc import Callable

from l0compile.errors import BuildError, L0CompileError


class KernelFault(L0CompileError):
    """A kernel did something that a GPU does not allow, or that leaves its result to chance."""


class OutOfBounds(KernelFault):
    """An access outside of every buffer, or of the arrays in shared memory."""


class Misaligned(KernelFault):
    """An access to an address that is no multiple of what is accessed there at once."""


class Race(KernelFault):
    """Two threads access one address, one of them writes, and nothing orders them; also an unfinished copy."""


class DivergentBarrier(KernelFault):
    """A barrier or a warp instruction that not all threads which have to come do come to."""


class Deadlock(KernelFault):
    """Lanes wait in a warp instruction for others that never come."""


class Unending(KernelFault):
    """The kernel did not end within the time given."""


class UnstableResult(KernelFault):
    """The result depends on the order in which threads and blocks run."""


class UndefinedOperand(KernelFault):
    """An operand for which the manual leaves the result of an instruction open."""


class LaunchFault(KernelFault):
    """A launch that a GPU would refuse: arguments, sizes of grid and block, shared memory."""


class Crash(KernelFault):
    """The emulated kernel ended by a signal of the operating system."""


class UnknownInstruction(BuildError):
    """Inline PTX, or a function of CUDA, that the emulation has not; found before anything runs."""


_BY_NAME: dict[str, type[KernelFault]] = {
    kind.__name__: kind
    for kind in (
        OutOfBounds,
        Misaligned,
        Race,
        DivergentBarrier,
        Deadlock,
        UndefinedOperand,
        LaunchFault,
        Crash,
    )
}


def reported(report: str, line: Callable[[str], str]) -> KernelFault | None:
    """Return the fault that the emulation printed into ``report``, if it did; ``line``: address -> source line."""
    _, found, rest = report.rpartition("emulation fault: ")
    if not found:
        return None
    name, _, rest = rest.partition("\n")
    message, _, rest = rest.partition("\nend of fault\naddress ")
    address = rest.split()[0] if rest.split() else ""
    where = line(address) if address.startswith("0x") else ""
    return _BY_NAME[name.strip()](message.strip() + (f" ({where})" if where else ""))
