"""What a call of one built kernel takes, here or on a device."""

import datetime
import functools
import statistics
import time
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l0compile.hardware._tvm import runtime
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.kernels import TokenTile
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.measurement.cuda.timer import TimedCall
from l0compile.measurement.device import Device
from l0compile.measurement.tune.operands import operands
from l0compile.runtime import CudaStage

_BLOCKS = 4
_LEAST_PASSES = 3
_FLUSH = "l2_cache_flush_cuda"


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a call, between which bounds, the number of timed calls, and the day."""

    ms: float
    low_ms: float
    high_ms: float
    calls: int
    date: str


class KernelHost(Hashable, Protocol):
    """Where kernels are called."""

    def tensor(self, array: NDArray[Any] | Tensor) -> Any:
        """Copy ``array`` to its memory."""

    def kernel(self, path: Path) -> Any:
        """Load the library at ``path`` as ``pass_ms`` takes it."""

    def pass_ms(self, kernel: Any, sets: list[tuple[Any, ...]]) -> float:
        """Mean milliseconds of one call with each set of operands."""


class Here:
    """The CPU of this machine: calls follow one another, each with other weights than the last."""

    def tensor(self, array: NDArray[Any] | Tensor) -> Any:
        return runtime.tensor(np.ascontiguousarray(array))

    def kernel(self, path: Path) -> Any:
        return runtime.load_module(str(path))["main"]

    def pass_ms(self, kernel: Any, sets: list[tuple[Any, ...]]) -> float:
        start = time.perf_counter_ns()
        for arguments in sets:
            kernel(*arguments)
        return (time.perf_counter_ns() - start) * 1e-6 / len(sets)


class There:
    """A device behind a tracker, by its own clock.

    TVM's timer calls a kernel once before it counts: weights that fit into the caches are read from these. On a GPU it
    writes over the second cache before each call. A library for one holds CUDA source, which the device compiles.

    Args:
        url: ``rpc://`` address of the device.
        kind: "llvm" or "cuda", as in ``Target.kind``.

    Raises:
        TargetError, DataError: as ``Device.parse`` and ``Device.session`` say.
    """

    def __init__(self, url: str, kind: str) -> None:
        self._session = Device.parse(url).session()
        self._device = self._session.cuda(0) if kind == "cuda" else self._session.cpu(0)
        self._before = _FLUSH if kind == "cuda" else ""
        self._kernels: dict[Path, Any] = {}

    def tensor(self, array: NDArray[Any] | Tensor) -> Any:
        if isinstance(array, Tensor):  # NumPy has no bfloat16
            return runtime.from_dlpack(array.contiguous()).copyto(self._device)
        return runtime.tensor(np.ascontiguousarray(array), self._device)

    def kernel(self, path: Path) -> Any:
        if path not in self._kernels:  # a library must not be written to while it is loaded
            self._session.upload(str(path))
            library = self._session.load_module(path.name)
            self._kernels[path] = library.time_evaluator(
                "main", self._device, number=1, repeat=1, f_preproc=self._before
            )
        return self._kernels[path]

    def pass_ms(self, kernel: Any, sets: list[tuple[Any, ...]]) -> float:
        return 1e3 * sum(kernel(*arguments).mean for arguments in sets) / len(sets)

    def lost(self) -> str | None:
        """Why the device can't be asked any more; None if it can."""
        try:
            self._session.upload(bytearray(1), "alive")
        except (OSError, RuntimeError) as error:
            return f"the device is gone: {error}"[:500]
        return None


class OnGpu:
    """The GPU of this machine: a call is replayed as a graph between events, with its second cache written over before.

    Args:
        target: a GPU; it is looked for when the first kernel is called.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._timed: tuple[Any, TimedCall] | None = None

    def tensor(self, array: NDArray[Any] | Tensor) -> Any:
        return torch.as_tensor(array).to("cuda")

    def kernel(self, path: Path) -> Any:
        return CudaStage(CudaLibrary(path.read_bytes()), {}, self._target)

    def pass_ms(self, kernel: Any, sets: list[tuple[Any, ...]]) -> float:
        if self._timed is None or self._timed[0] is not kernel:
            # The last is the result, which a stage makes itself.
            self._timed = kernel, TimedCall(partial(kernel, sets[0][:-1]), self._target.l2_bytes)
        return self._timed[1].block(1)[0]


def time_kernel(
    path: Path, work: KernelWorkload, machine: TokenTile | Target, seconds: float, host: KernelHost
) -> Timing:
    """Time the kernel in a library, in blocks of calls with weights that take turns.

    The time is that of the quietest block: what else the machine does only ever adds to it. The interval reaches to
    the median block.

    Args:
        path: of the library.
        work: what the kernel computes.
        machine: what it is built for.
        seconds: for about how long it is called.
        host: where it is called.
    """
    kernel, sets = host.kernel(path), _operands(host, work, machine)
    host.pass_ms(kernel, sets)
    blocks = [_block(host, kernel, sets, 1e3 * seconds / _BLOCKS) for _ in range(_BLOCKS)]
    best = min(blocks, key=statistics.median)
    calls = sum(map(len, blocks)) * len(sets)
    low, high = min(best), statistics.median(map(statistics.median, blocks))
    ms, low, high = (float(f"{value:.4g}") for value in (statistics.median(best), low, high))
    return Timing(ms, low, high, calls, datetime.date.today().isoformat())


@functools.lru_cache(maxsize=1)
def _operands(host: KernelHost, work: KernelWorkload, machine: TokenTile | Target) -> list[tuple[Any, ...]]:
    """The schedules of one work are timed one after another, and making its operands takes longer than that."""
    return operands(work, machine, host.tensor)


def _block(host: KernelHost, kernel: Any, sets: list[tuple[Any, ...]], ms: float) -> list[float]:
    times: list[float] = []
    while len(times) < _LEAST_PASSES or sum(times) * len(sets) < ms:
        times.append(host.pass_ms(kernel, sets))
    return times
