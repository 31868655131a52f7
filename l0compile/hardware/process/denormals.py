"""Whether arithmetic treats denormal numbers as zero: a mode of each thread, which any library may have set."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from l0compile.hardware.process.threads import stop_spinning


def flushes_denormals() -> bool:
    """Return whether the calling thread treats denormals as zero. PyTorch can set the mode, but not read it."""
    return sys.float_info.min / 2 == 0.0


@contextmanager
def denormals_kept() -> Iterator[None]:
    """Keep denormals as they are within a block, and restore the mode afterwards.

    PyTorch's other threads keep the mode that they were started in. So this ends them; the next operator that needs
    them starts them again, in the mode of the calling thread.
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


@contextmanager
def denormal_mode_restored() -> Iterator[None]:
    """Restore the calling thread's mode after a block in which another engine may change it, as OpenVINO does."""
    flushing = flushes_denormals()
    try:
        yield
    finally:
        if flushes_denormals() != flushing:
            torch.set_flush_denormal(flushing)
            stop_spinning()
