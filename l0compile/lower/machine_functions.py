"""Whether functions and casts are those of the machine, as on a GPU, or our own code for CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OF_THE_MACHINE: ContextVar[bool] = ContextVar("functions of the machine", default=False)


@contextmanager
def functions_of_the_machine() -> Iterator[None]:
    """Within the block, functions and casts are those of the machine's own library, and no polynomials."""
    token = _OF_THE_MACHINE.set(True)
    try:
        yield
    finally:
        _OF_THE_MACHINE.reset(token)


def of_the_machine() -> bool:
    """Return whether such a block is open."""
    return _OF_THE_MACHINE.get()
