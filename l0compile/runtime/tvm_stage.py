"""A stage that TVM compiled, on torch tensors."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l0compile.errors import InputError
from l0compile.hardware._tvm_runtime import (
    VirtualMachine,
    array_of,
    from_dlpack,
    items_of,
    tvm_threads,
    use_all_threads,
)
from l0compile.lower.tvm.library import MachineCode
from l0compile.runtime.profile import time_functions

_ALIGNMENT = 64  # kernels load whole cache lines


class TvmStage:
    """Runs the function ``main`` of machine code.

    By several threads at once where it is limited to one thread each: then each has a virtual machine of its own.
    """

    def __init__(self, code: MachineCode, parameters: Mapping[str, Tensor]) -> None:
        """``parameters``: name -> tensor, in the order in which the machine code takes them."""
        self._code = code
        self.constants = {name: aligned(tensor.detach()) for name, tensor in parameters.items()}
        self._owned = {tensor.data_ptr() for tensor in self.constants.values()}
        self._bundle = array_of([from_dlpack(tensor) for tensor in self.constants.values()])
        self._main = VirtualMachine(code.module)["main"]
        self._threads: int | None = None
        self._machines = threading.local()

    def __call__(self, inputs: Sequence[Tensor]) -> list[Any]:
        """New tensors. Inputs must already have the shapes and dtypes that the stage was compiled for."""
        # Results come as torch tensors where an input is one.
        arrays, given = [], []
        for tensor in inputs:
            address = tensor.data_ptr()
            given.append(address)
            arrays.append(tensor if address % _ALIGNMENT == 0 and tensor.is_contiguous() else aligned(tensor))
        if self._threads is None:
            use_all_threads()
            found = self._main(*arrays, self._bundle)
        else:
            with tvm_threads(self._threads):
                found = self._own_main()(*arrays, self._bundle)
        results = []
        for item in items_of(found):
            result = item if isinstance(item, Tensor) else torch.utils.dlpack.from_dlpack(item)
            address = result.data_ptr()
            # A constant or an input is copied.
            results.append(result.clone() if address in self._owned or address in given else result)
        return results

    def limit(self, threads: int | None) -> None:
        """Run kernels on that many threads from now on; None: on all."""
        self._threads = threads

    def _own_main(self) -> Any:
        """The function; on a virtual machine of the calling thread where others may run it too."""
        if self._threads != 1:
            return self._main
        machines = self._machines
        if not hasattr(machines, "main"):
            machines.main = VirtualMachine(self._code.module)["main"]
        return machines.main

    def export(self, path: Path) -> None:
        """Write the machine code as a shared library."""
        self._code.export(path)

    def times(self, inputs: Sequence[Tensor], repeats: int) -> list[tuple[str, float]]:
        """(name, median ms) of each function that a call runs, in order."""
        use_all_threads()
        with nullcontext() if self._threads is None else tvm_threads(self._threads):
            return time_functions(self._code.module, [*_arrays(inputs), self._bundle], repeats)


def _arrays(inputs: Sequence[Tensor]) -> list[Any]:
    return [from_dlpack(aligned(tensor.detach())) for tensor in inputs]


def _array(tensor: Tensor) -> Any:
    """A view as NumPy, which has no bfloat16."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def aligned(tensor: Tensor) -> Tensor:
    """The tensor itself if its memory can be read as it is, else a copy."""
    if tensor.is_contiguous() and tensor.data_ptr() % _ALIGNMENT == 0:
        return tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype)
    # By NumPy, in one thread: PyTorch's would stay awake and take the core from the kernels' threads for milliseconds.
    np.copyto(_array(copy), _array(tensor.detach()))
    if copy.numel() and copy.data_ptr() % _ALIGNMENT:
        raise InputError(
            f"torch allocates at {copy.data_ptr() % _ALIGNMENT} bytes past a cache line; expected aligned memory"
        )
    return copy
