"""PyTorch's threads while a stage runs: they and TVM's must not fight over the cores."""

import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

# A stage that uses all of PyTorch's threads does so alone in the process.
_TURN = threading.RLock()
_PAUSE_SOFT = 1


def torch_threads(count: int | None) -> AbstractContextManager[Any]:
    """Run a block with ``count`` threads of PyTorch, in the calling thread only.

    None keeps the number of threads, and lets one block run at a time in the process.
    """
    return _TURN if count is None else _limited(count)


@contextmanager
def _limited(count: int) -> Iterator[None]:
    before = (
        torch.get_num_threads()
    )  # also makes PyTorch set up this thread, which would undo what is set here
    if count == before:
        yield
        return
    limit = _openmp("omp_set_num_threads")
    if limit is None:  # another OpenMP: PyTorch's own function sets a number of the process too
        with _TURN:
            torch.set_num_threads(count)
            try:
                yield
            finally:
                torch.set_num_threads(before)
        return
    limit(count)
    try:
        yield
    finally:
        limit(before)


def stop_spinning() -> bool:
    """End the idle OpenMP threads of the calling thread: they would spin for milliseconds on cores that TVM needs.

    The next parallel PyTorch operator starts them again, within some tens of microseconds.

    Returns:
        Whether the OpenMP library of this PyTorch can do it.
    """
    pause = _openmp("omp_pause_resource_all")
    return pause is not None and pause(_PAUSE_SOFT) == 0


@functools.cache
def _openmp(name: str) -> "ctypes._NamedFuncPointer | None":
    """Return a function of PyTorch's OpenMP library that takes a number."""
    for library in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        function = getattr(ctypes.CDLL(str(library)), name, None)
        if function is not None:
            function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
            return function
    return None
