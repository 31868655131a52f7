"""NVIDIA's driver, through ctypes: load device code, and where to launch it.

PyTorch has made the context and holds the stream; all that is asked of the driver beside it is the module with our
kernels. Nothing here has run on a GPU yet: there was none where it was written.
"""

import ctypes
import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from l0compile.errors import DeviceError, InputError, MissingDependency, TargetError
from l0compile.hardware.targets import Target, host_supports
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.runtime.cuda.gpu import LoadedKernels

_MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_STATIC_SHARED = 1  # CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
_CYCLES_OF_A_LAUNCH = 100_000  # 50 microseconds and more
_OPT_IN_SHARED = 97  # CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN


def nvidia_gpu(target: Target, device: torch.device | None) -> "NvidiaGpu":
    """The GPU of ``device``, or PyTorch's current one for None.

    Raises:
        TargetError: there is none, or it is of another architecture.
        InputError: ``device`` is no GPU.
    """
    reason = host_supports(target)
    if reason is not None:
        raise TargetError(
            f"target {target.name}: this model cannot run here: {reason}; run it on a machine that has one, or compile "
            "the model again with target='native' for this machine's CPU"
        )
    if device is not None and device.type != "cuda":
        raise InputError(f"inputs: expected CUDA tensors for target {target.name}, got {device}; use .cuda()")
    found = torch.device("cuda", torch.cuda.current_device()) if device is None else device
    return NvidiaGpu(found)


@dataclass(frozen=True)
class _CudaModule:
    """A loaded module; unloaded with the last reference to it."""

    driver: ctypes.CDLL
    handle: ctypes.c_void_p


class NvidiaGpu:
    """A real GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self._device

    def load(self, library: CudaLibrary) -> LoadedKernels:
        """Load the image of ``library`` into PyTorch's context.

        Raises:
            MissingDependency: the library holds source code; it was made without nvcc.
            DeviceError: the driver refuses the image.
        """
        if not library.machine_code:
            raise MissingDependency(
                "this model was compiled without nvcc, so it holds CUDA source and no machine code; run: "
                "pip install 'l0compile[cuda]', and compile it again"
            )
        driver = _driver()
        with torch.cuda.device(self._device):
            torch.cuda.current_stream().synchronize()  # makes PyTorch's context, which the module goes to
            module = ctypes.c_void_p()
            self._check(driver.cuModuleLoadData(ctypes.byref(module), library.machine_code))
            handles = tuple(self._function(module, fact.name) for fact in library.kernels)
        launch = ctypes.cast(driver.cuLaunchKernel, ctypes.c_void_p).value
        assert launch is not None
        return LoadedKernels(launch, handles, _CudaModule(driver, module))

    def _function(self, module: ctypes.c_void_p, name: str) -> int:
        driver, found = _driver(), ctypes.c_void_p()
        self._check(driver.cuModuleGetFunction(ctypes.byref(found), module, name.encode()))
        # A kernel may ask for more than the 48 KiB that every launch may have; how much, the launch says.
        own, most, static = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._check(driver.cuDeviceGet(ctypes.byref(own), self._device.index or 0))
        self._check(driver.cuDeviceGetAttribute(ctypes.byref(most), _OPT_IN_SHARED, own))
        self._check(driver.cuFuncGetAttribute(ctypes.byref(static), _STATIC_SHARED, found))
        self._check(driver.cuFuncSetAttribute(found, _MAX_DYNAMIC_SHARED, most.value - static.value))
        assert found.value is not None
        return found.value

    def current(self) -> AbstractContextManager[Any]:
        """Make the device's context the current one: a kernel is launched in the context that holds its module."""
        return torch.cuda.device(self._device)

    def stream(self) -> int:
        """Return the handle of PyTorch's current stream on this device."""
        return int(torch.cuda.current_stream(self._device).cuda_stream)

    def finish(
        self, loaded: LoadedKernels, given: Sequence[torch.Tensor], made: Sequence[torch.Tensor]
    ) -> None:
        """Do nothing: the stream goes on by itself."""

    def event(self) -> torch.cuda.Event:
        """Put an event on PyTorch's current stream."""
        found = torch.cuda.Event(enable_timing=True)
        found.record(torch.cuda.current_stream(self._device))
        return found

    def hold(self, launches: int) -> None:
        """Let the stream do nothing for a while: a launch with its events takes the host some microseconds."""
        with torch.cuda.device(self._device):
            torch.cuda._sleep(launches * _CYCLES_OF_A_LAUNCH)

    def wait(self) -> None:
        """Wait for PyTorch's current stream."""
        torch.cuda.current_stream(self._device).synchronize()

    def describe(self, code: int) -> str:
        """Return the driver's name of an error and its description."""
        driver, name, text = _driver(), ctypes.c_char_p(), ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        driver.cuGetErrorString(code, ctypes.byref(text))
        return f"{(name.value or b'?').decode()} ({code}): {(text.value or b'no description').decode()}"

    def _check(self, code: int) -> None:
        if code:
            raise DeviceError(f"{self._device}: the driver refused to load the model: {self.describe(code)}")


@functools.cache
def _driver() -> ctypes.CDLL:
    """The driver's library, which PyTorch has loaded already where there is a GPU.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise MissingDependency(f"NVIDIA's driver is not installed: {error}") from error
    driver.cuModuleLoadData.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    driver.cuModuleGetFunction.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    driver.cuFuncGetAttribute.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    driver.cuFuncSetAttribute.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    return driver
