"""A stage that a GPU runs, on torch tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import DeviceError, InputError
from l0compile.hardware.targets import Target
from l0compile.lower.cuda.library import CudaLibrary, HostError
from l0compile.runtime.cuda.driver import nvidia_gpu
from l0compile.runtime.cuda.emulated import EmulatedGpu
from l0compile.runtime.cuda.gpu import GpuDevice, LoadedKernels
from l0compile.runtime.cuda.timed import TimedLaunches, by_function

_TOO_MANY_BLOCKS = -1  # of host.c
_ALIGNMENT = 16  # bytes of the widest load


@dataclass(frozen=True)
class _Resident:
    """What lies on one device: kernels, weights and constants."""

    gpu: GpuDevice
    kernels: LoadedKernels
    weights: tuple[Tensor, ...]


class CudaStage:
    """Runs a library for a GPU on the stream that PyTorch uses at the call.

    Weights and kernels go to the device at the first call on it, and stay there. A call then allocates its results and
    one block for all values in between, both from PyTorch's own allocator; it copies nothing and waits for nothing. So
    a CUDA graph can capture it, once a first call has been made outside of the capture. Memory of a call may be used
    again by later work on the same stream only, as with any tensor of PyTorch.
    """

    def __init__(
        self,
        code: CudaLibrary,
        parameters: Mapping[str, Tensor],
        target: Target,
        gpu_of: Callable[[Target, torch.device | None], GpuDevice] = nvidia_gpu,
    ) -> None:
        """Prepare a stage; no GPU is needed for that.

        Args:
            code: what to run.
            parameters: name -> CPU tensor, in the order in which the code takes them.
            target: what the code is for.
            gpu_of: gives the GPU for the device of the inputs (None: there are none); raises where it cannot.
        """
        self._code, self._target, self._gpu_of = code, target, gpu_of
        self.constants = {name: tensor.detach().contiguous() for name, tensor in parameters.items()}
        self._resident: dict[torch.device | None, _Resident] = {}

    def __call__(self, inputs: Sequence[Tensor]) -> list[Any]:
        """New tensors on the device of the inputs, which have the shapes and dtypes that were compiled for.

        Raises:
            TargetError: no such GPU here.
            MissingDependency: the code was made without a compiler for it.
            InputError: the inputs are on several devices, or there are too many for the GPU's grid.
            DeviceError: the driver refused a launch.
        """
        return self._run(inputs, self._resident_of(inputs))

    def _resident_of(self, inputs: Sequence[Tensor]) -> _Resident:
        devices = {tensor.device for tensor in inputs}
        if len(devices) > 1:
            raise InputError(f"inputs: expected tensors on one device, got {sorted(map(str, devices))}")
        return self._on(next(iter(devices), None))

    def _run(self, inputs: Sequence[Tensor], resident: _Resident, launch: int | None = None) -> list[Any]:
        """Make a call; ``launch``: address of what launches, in place of the driver's own function."""
        device, library = resident.gpu.device, self._code
        given = [_ready(tensor) for tensor in inputs]
        sizes = library.sizes([tensor.shape for tensor in (*given, *self.constants.values())])
        kinds = [getattr(torch, each["dtype"]) for each in library.facts["results"]]
        shapes = library.result_shapes(sizes)
        results = [torch.empty(s, dtype=d, device=device) for s, d in zip(shapes, kinds, strict=True)]
        space = torch.empty(library.workspace(sizes), dtype=torch.uint8, device=device)
        places = [tensor.data_ptr() for tensor in (*given, *resident.weights)]
        try:
            with resident.gpu.current():
                library.run(
                    launch or resident.kernels.launch, resident.kernels.handles, resident.gpu.stream(), sizes,
                    space.data_ptr(), places, [tensor.data_ptr() for tensor in results],
                )  # fmt: skip
        except HostError as error:
            raise _explained(error, resident.gpu) from error
        sources = [*given, *resident.weights]
        resident.gpu.finish(resident.kernels, sources, [space, *results])
        for result, each in zip(results, library.facts["results"], strict=True):
            if each["copy"] is not None:
                name, place = each["copy"]
                own = {"inputs": sources, "results": results}[name][place]
                result.copy_(own.reshape(-1).view(result.dtype).reshape(result.shape))
        return results

    def _on(self, device: torch.device | None) -> _Resident:
        if device not in self._resident:
            gpu = self._gpu_of(self._target, device)
            kernels = gpu.load(self._code)
            own = [*self.constants.values(), *map(torch.from_numpy, self._code.constants())]
            self._resident[device] = _Resident(
                gpu, kernels, tuple(tensor.to(gpu.device, copy=True) for tensor in own)
            )
        return self._resident[device]

    def ready_to_time(self) -> torch.device:
        """Return where calls can be timed.

        Raises:
            TargetError: no such GPU here, or it is emulated.
        """
        gpu = self._gpu_of(self._target, None)
        gpu.event()
        return gpu.device

    def wait(self) -> None:
        """Wait until the GPU has done what calls have put on its stream."""
        for resident in self._resident.values():
            resident.gpu.wait()

    def times(self, inputs: Sequence[Tensor], repeats: int) -> list[tuple[str, float]]:
        """Return (name, median ms) of each function that a call runs, in order, by events around its launches."""
        resident, runs = self._resident_of(inputs), []
        gpu, launches = resident.gpu, 2 * len(self._code.kernels)
        for _ in range(repeats + 1):
            timed = TimedLaunches(resident.kernels.launch, gpu.event)
            gpu.hold(launches)
            self._run(inputs, resident, timed.address)
            gpu.wait()
            runs.append(timed.times())
            launches = len(timed.noted)
        # Nobody knew before the first run how many launches there are.
        return by_function(runs[1:], resident.kernels.handles, self._code.kernels)

    @property
    def source(self) -> str:
        """The kernels as CUDA C++."""
        return self._code.source

    @property
    def machine_code_bytes(self) -> int:
        """Bytes of machine code for the GPU; 0 where there was no compiler."""
        return len(self._code.machine_code)

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """Names of the kernels."""
        return tuple(fact.name for fact in self._code.kernels)

    def emulated(self) -> "CudaStage":
        """Return the same stage on a GPU that the CPU emulates."""
        return CudaStage(self._code, self.constants, self._target, EmulatedGpu.of)

    def limit(self, threads: int | None) -> None:
        """Do nothing: a GPU's work takes no threads of the CPU."""

    def export(self, path: Path) -> None:
        """Write the library."""
        self._code.export(path)


def _ready(tensor: Tensor) -> Tensor:
    """The tensor itself if kernels can read its memory as it is, else a copy."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor


def _explained(error: HostError, gpu: GpuDevice) -> Exception:
    if error.code == _TOO_MANY_BLOCKS:
        return InputError(
            f"kernel {error.kernel}: expected sizes that need at most 65,535 blocks along an axis of the grid; "
            "call the model with a smaller batch"
        )
    return DeviceError(f"kernel {error.kernel}: the driver refused to launch it: {gpu.describe(error.code)}")
