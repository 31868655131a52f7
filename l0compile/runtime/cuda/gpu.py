"""What a stage needs of a GPU, whether it is a real one or an emulation."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from l0compile.lower.cuda.library import CudaLibrary
from l0compile.runtime.cuda.timed import StreamEvent


@dataclass(frozen=True)
class LoadedKernels:
    """The kernels of a library, ready to be launched.

    Attributes:
        launch: address of a function with the parameters of cuLaunchKernel.
        handles: of the kernels, in the order of the library.
        owner: what must live as long as the handles are used.
    """

    launch: int
    handles: tuple[int, ...]
    owner: object


class GpuDevice(Protocol):
    """A GPU.

    Attributes:
        device: where its tensors are.
    """

    @property
    def device(self) -> torch.device: ...

    def load(self, library: CudaLibrary) -> LoadedKernels:
        """Load the device code of ``library``."""

    def current(self) -> AbstractContextManager[Any]:
        """Make it the device that launches go to, within a block."""

    def stream(self) -> int:
        """Return the handle of the stream that PyTorch uses now."""

    def finish(
        self, loaded: LoadedKernels, given: Sequence[torch.Tensor], made: Sequence[torch.Tensor]
    ) -> None:
        """Note that all launches of a call were made; a real GPU goes on computing.

        Args:
            loaded: what was launched.
            given: inputs, weights and constants.
            made: memory that the launches write: results, and values in between.
        """

    def event(self) -> StreamEvent:
        """Put an event on the stream.

        Raises:
            TargetError: it is an emulation, whose times say nothing of a GPU's.
        """

    def hold(self, launches: int) -> None:
        """Keep the stream busy until the host has made that many launches, so that none of them waits for the host."""

    def wait(self) -> None:
        """Wait until everything on the stream is done."""

    def describe(self, code: int) -> str:
        """Say what an error code of the driver means."""
