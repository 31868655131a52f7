"""Whether arithmetic takes denormal numbers for zero: a mode of each thread, which any library may have switched on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from l0compile.hardware.process.threads import stop_spinning


def flushes_denormals() -> bool:
    """Whether the calling thread takes denormals for zero. PyTorch sets the mode but cannot tell it."""
    return sys.float_info.min / 2 == 0.0


@contextmanager
def denormals_kept() -> Iterator[None]:
    """Run a block in which denormals are the numbers that they are; the mode is as it was afterwards.

    PyTorch's other threads keep the mode of the moment at which they were started, whatever is switched later: they are
    ended, and the next operator that needs them starts them again in the mode of the calling thread.
    """
    flushing = flushes_denormals()
    torch.set_flush_denormal(False)
    stop_spinning()
    try:
        yield
    finally:
        if flushing:
            torch.set_flush_denormal(True)
            stop_spinning()
