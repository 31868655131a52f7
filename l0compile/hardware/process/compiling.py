"""The state of the process while a model is compiled."""

from collections.abc import Iterator
from contextlib import contextmanager

from l0compile.hardware.process.collector import collector_paused
from l0compile.hardware.process.denormals import denormals_kept


@contextmanager
def while_compiling() -> Iterator[None]:
    """Keep denormals and pause Python's collector: one decorator, so that tracebacks stay short."""
    with collector_paused(), denormals_kept():
        yield
