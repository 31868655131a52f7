"""Tell on standard error what compiling does at the moment."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Printed(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._begun = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one step, or a warning, with the seconds since the beginning."""
        word = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        print(f"{time.monotonic() - self._begun:5.0f} s  {word}{record.getMessage()}", file=sys.stderr)


@contextmanager
def told() -> Iterator[None]:
    """Print the steps that the package logs while the ``with`` block runs."""
    log, handler = logging.getLogger("l0compile"), _Printed()
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # else a warning is printed twice where the root logger has a handler
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
