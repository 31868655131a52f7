"""What differs between CPUs and GPUs on the way from an optimised program to machine code."""

from dataclasses import dataclass
from typing import Protocol

from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.kernels import TokenTile, adds_in_16_bits, kernel_call
from l0compile.lower.cuda.build import build_cuda
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.lower.tvm.build import Built, build
from l0compile.lower.tvm.library import Library, MachineCode
from l0compile.rewrite.pipeline import assign_gpu_layouts, assign_layouts


class CompilerBackend(Protocol):
    """The steps of lowering that depend on the kind of machine.

    Attributes:
        target: The machine to build for.
        machine: What its kernels are emitted for: the token tile of a CPU, or the target that is a GPU.
    """

    @property
    def target(self) -> Target: ...

    @property
    def machine(self) -> TokenTile | Target: ...

    def laid_out(self, program: Program) -> Program:
        """Return an optimised program in the layouts of the kernels."""

    def built(self, module: object) -> Built:
        """Generate code for a translated module; raises BuildError."""

    def loaded(self, content: bytes) -> MachineCode:
        """Return machine code from its file."""

    def content(self, code: MachineCode) -> bytes | None:
        """Return machine code as a file to keep; None where it is not worth keeping."""


@dataclass(frozen=True)
class CpuBackend:
    """Tokens in lanes, and a library for this machine or one like it."""

    target: Target
    machine: TokenTile

    def laid_out(self, program: Program) -> Program:
        """Return the program packed."""
        machine = self.machine
        splits = adds_in_16_bits(machine)
        return assign_layouts(program, lanes=machine.lanes, rows=machine.rows, splits=splits)

    def built(self, module: object) -> Built:
        """Generate code."""
        return build(module, self.target, self.machine)

    def loaded(self, content: bytes) -> MachineCode:
        """Return a shared library."""
        return Library(content)

    def content(self, code: MachineCode) -> bytes | None:
        """Return the shared library; code in memory is none."""
        return code.content() if isinstance(code, Library) else None


@dataclass(frozen=True)
class GpuBackend:
    """Values in rows, and a library of host and device code."""

    target: Target

    @property
    def machine(self) -> Target:
        """The target itself."""
        return self.target

    def laid_out(self, program: Program) -> Program:
        """Return the program with operators of kernels, and others written out."""
        return assign_gpu_layouts(program, lambda node: kernel_call(node, "cuda") is not None)

    def built(self, module: object) -> Built:
        """Generate code."""
        return Built(build_cuda(module, self.target), ())

    def loaded(self, content: bytes) -> MachineCode:
        """Return a library."""
        return CudaLibrary(content)

    def content(self, code: MachineCode) -> bytes | None:
        """Return the library, unless it lacks machine code, which a compiler may make another time."""
        return code.content() if isinstance(code, CudaLibrary) and code.machine_code else None


def backend_of(target: Target, machine: TokenTile | Target) -> CompilerBackend:
    """Return the steps for ``target``."""
    return CpuBackend(target, machine) if isinstance(machine, TokenTile) else GpuBackend(target)
