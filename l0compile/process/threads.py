"""PyTorch's threads while a stage runs, so that they and TVM's do not fight over the cores."""

import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

# PyTorch's thread count belongs to the process: stages of different models must not change it under each other.
_TURN = threading.RLock()
_PAUSE_SOFT = 1


def torch_threads(count: int | None) -> AbstractContextManager[Any]:
    """Run a block with ``count`` threads of PyTorch (None: as many as now); one block at a time in the process."""
    return _TURN if count is None else _changed(count)


@contextmanager
def _changed(count: int) -> Iterator[None]:
    with _TURN:
        before = torch.get_num_threads()
        if count == before:
            yield
            return
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def stop_spinning() -> bool:
    """End the idle OpenMP threads of the calling thread, which otherwise spin for milliseconds on cores that TVM needs.

    The next parallel PyTorch operator starts them again, for some tens of microseconds. Gives whether the OpenMP
    library of this PyTorch can do it.
    """
    pause = _pause_function()
    return pause is not None and pause(_PAUSE_SOFT) == 0


@functools.cache
def _pause_function() -> "ctypes._NamedFuncPointer | None":
    for library in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        function = getattr(ctypes.CDLL(str(library)), "omp_pause_resource_all", None)
        if function is not None:
            function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
            return function
    return None
