"""The launches of a call, carried out by the emulation of a GPU on the CPU: what proves a whole model computed right.

The host code that a GPU would run calls this in place of the driver. Launches are noted as they come, with the memory
that they name, and run one after another at the end of the call, in one process, with every access checked.
"""

import ctypes
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from l0compile.errors import DeviceError, TargetError
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.emulation.kernel import ORDERS, KernelLaunch, Order, run_launches
from l0compile.kernels.cuda.emulation.toolchain import executable
from l0compile.lower.cuda.library import CudaLibrary, KernelFact
from l0compile.runtime.cuda.gpu import LoadedKernels
from l0compile.runtime.cuda.timed import StreamEvent

_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    *[ctypes.c_uint] * 7,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)
_NUMBERS: dict[str, Any] = {
    "int8_t": ctypes.c_int8, "int16_t": ctypes.c_int16, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16, "uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float, "double": ctypes.c_double,
}  # fmt: skip
_POISON = 0xFF


@dataclass
class _NotedLaunches:
    """The launches of one call, as the host code made them: numbers, and addresses of memory."""

    kernels: tuple[KernelFact, ...]
    launches: list[KernelLaunch] = field(default_factory=list)

    def note(self, kernel: int, *rest: Any) -> int:
        """Note a launch; has the parameters of cuLaunchKernel. A kernel's handle is its number, counted from 1."""
        *extents, shared, _, arguments, _ = rest
        fact = self.kernels[kernel - 1]
        values = tuple(_value(kind, arguments[place]) for place, kind in enumerate(fact.parameters))
        grid, block = tuple(extents[:3]), tuple(extents[3:])
        self.launches.append(KernelLaunch(fact.name, grid, block, values, shared))
        return 0


@dataclass(frozen=True)
class _EmulatedModule:
    """What launches are noted in, the function that notes them, and the program that carries them out."""

    noted: _NotedLaunches
    callback: Any
    program: Path


class EmulatedGpu:
    """A GPU that the CPU emulates, slowly and with every check; its tensors are CPU tensors.

    Attributes:
        orders: the orders of threads and blocks that the launches are run in.
        seconds: how long one order of a call may take.
    """

    device = torch.device("cpu")

    def __init__(self, orders: Sequence[Order] = ORDERS, seconds: float = 600.0) -> None:
        self.orders, self.seconds = tuple(orders), seconds

    @classmethod
    def of(cls, _: Target, __: torch.device | None) -> "EmulatedGpu":
        """An emulation for any target and any device of inputs, as ``CudaStage`` asks for one."""
        return cls()

    def load(self, library: CudaLibrary) -> LoadedKernels:
        """Compile the source of the kernels for the CPU.

        Raises:
            MissingDependency: there is no g++ that the emulation takes.
            UnknownInstruction: a kernel contains what the emulation has not.
        """
        noted = _NotedLaunches(library.kernels)
        callback = _LAUNCH(noted.note)
        address = ctypes.cast(callback, ctypes.c_void_p).value
        assert address is not None
        handles = tuple(range(1, len(library.kernels) + 1))
        return LoadedKernels(address, handles, _EmulatedModule(noted, callback, executable(library.source)))

    def current(self) -> AbstractContextManager[Any]:
        """Do nothing."""
        return nullcontext()

    def stream(self) -> int:
        """Return no stream: launches run in order."""
        return 0

    def finish(
        self, loaded: LoadedKernels, given: Sequence[torch.Tensor], made: Sequence[torch.Tensor]
    ) -> None:
        """Run the launches that were noted, on ``given`` and ``made``; what was there in ``made`` is poison.

        Raises:
            KernelFault: of any kind; see ``kernels.cuda.emulation``.
        """
        module = loaded.owner
        assert isinstance(module, _EmulatedModule)
        launches, module.noted.launches = module.noted.launches, []
        buffers = _CallMemory([*map(_bytes, given)], [*map(_bytes, made)], launches)
        results = run_launches(
            module.program, buffers.launches(), buffers.arrays(), self.orders, self.seconds
        )
        buffers.write_back(results)

    def event(self) -> StreamEvent:
        """Refuse.

        Raises:
            TargetError: always.
        """
        raise TargetError(
            "emulated: an emulation's times say nothing of a GPU's; measure where there is a GPU"
        )

    def hold(self, launches: int) -> None:
        """Do nothing: there is no stream."""

    def wait(self) -> None:
        """Do nothing: launches are done when they are made."""

    def describe(self, code: int) -> str:
        """Return the code; the emulation raises its faults itself."""
        return f"error {code}"


class _CallMemory:
    """The memory of a call, cut where a kernel's argument begins: each piece is a buffer with bounds of its own."""

    def __init__(self, given: list[Any], made: list[Any], launches: Sequence[KernelLaunch]) -> None:
        for array in made:
            array[...] = _POISON
        self._noted = launches
        named = sorted(
            {value for one in launches for value in one.arguments if isinstance(value, _MemoryAddress)}
        )
        self._pieces: dict[int, Any] = {}
        for array in (*given, *made):
            start = array.ctypes.data
            cuts = [address - start for address in named if start <= address < start + max(1, array.size)]
            for cut, end in pairwise([*cuts, array.size]):
                self._pieces[start + cut] = array[cut:end]
        unknown = [address for address in named if address not in self._pieces]
        if unknown:
            raise DeviceError(
                f"emulation: a kernel was given memory that is none of the call: {unknown[0]:#x}"
            )
        self._numbers = {address: number for number, address in enumerate(self._pieces)}

    def launches(self) -> list[KernelLaunch]:
        def argument(value: Any) -> Any:
            return ("buffer", self._numbers[value]) if isinstance(value, _MemoryAddress) else value

        return [
            KernelLaunch(
                one.name, one.grid, one.block, tuple(map(argument, one.arguments)), one.dynamic_shared_bytes
            )
            for one in self._noted
        ]

    def arrays(self) -> dict[str, Any]:
        return {f"buffer {number}": piece for number, piece in enumerate(self._pieces.values())}

    def write_back(self, results: Sequence[Any]) -> None:
        for piece, result in zip(self._pieces.values(), results, strict=True):
            piece[...] = result


class _MemoryAddress(int):
    """The address of memory, among the arguments of a kernel."""


def _value(kind: str, place: int) -> Any:
    """The argument behind a pointer to it."""
    if kind == "*":
        return _MemoryAddress(ctypes.cast(place, ctypes.POINTER(ctypes.c_void_p)).contents.value or 0)
    return ctypes.cast(place, ctypes.POINTER(_NUMBERS[kind])).contents.value


def _bytes(tensor: torch.Tensor) -> Any:
    return tensor.detach().reshape(-1).view(torch.uint8).numpy()
