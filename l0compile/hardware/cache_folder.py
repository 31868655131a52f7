"""The folder where l0compile keeps what it can make again."""

import functools
import os
import tempfile
from pathlib import Path

VARIABLE, SWITCHED_OFF = "L0COMPILE_CACHE", "off"


def cache_folder() -> Path | None:
    """Return ``$L0COMPILE_CACHE``, else ``l0compile`` in the user's cache folder; None where it is ``off``."""
    named = os.environ.get(VARIABLE)
    if named == SWITCHED_OFF:
        return None
    return Path(named) if named else user_folder()


def folder_for_this_process() -> Path:
    """Return the cache folder; where it is switched off, one that goes with this process."""
    return cache_folder() or Path(_temporary().name)


@functools.cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="l0compile-")


def user_folder() -> Path:
    """Return ``l0compile`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l0compile"
