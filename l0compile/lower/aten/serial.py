"""Nested loops written by hand, for what a tensor expression cannot say: scatters and running sums."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from l0compile.hardware._tvm import TB


@contextmanager
def serial(extents: Sequence[Any]) -> Iterator[list[Any]]:
    """One serial loop for each extent, all from 0 (TVM loses other starts); gives their variables."""
    with ExitStack() as stack:
        yield [stack.enter_context(TB.serial(0, extent)) for extent in extents]
