"""Python's garbage collector while a model is compiled."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_pauses = 0  # blocks that have paused the collector and not ended


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect garbage once at the end of a block, and only what the block left.

    Passes make some hundred thousand objects, and the collector would look through all of PyTorch's each time a quarter
    more had been made: a sixth of the time that compiling takes. Where the program has switched its collector off, or
    frozen objects of its own, it stays as it is.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    global _pauses
    gc.freeze()
    gc.disable()
    _pauses += 1
    try:
        yield
    finally:
        _pauses -= 1
        gc.enable()
        gc.collect()
        gc.unfreeze()


def collect_now() -> None:
    """Collect what a block of ``collector_paused`` has left so far; outside of one, do nothing."""
    if _pauses:
        gc.collect()
