"""Nested loops, for what a tensor expression cannot state: scatters and cumulative sums."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from l0compile.hardware._tvm import TB


@contextmanager
def nested_loops(extents: Sequence[Any]) -> Iterator[list[Any]]:
    """Open one serial loop for each extent, all from 0 (TVM drops other starts), and yield their variables."""
    with ExitStack() as stack:
        yield [stack.enter_context(TB.serial(0, extent)) for extent in extents]
