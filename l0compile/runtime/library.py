"""Load a shared library of an artifact from a copy that nobody else can name."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from l0compile.hardware._tvm import runtime


class Library:
    """Machine code in a file of its own.

    The dynamic loader knows libraries by their path: if one artifact replaces another at the same path, a process
    that has loaded the first would get its code for the second as well. So this loads a copy under a new name, which
    goes with the object. A model can be saved again after its folder was replaced or removed.
    """

    def __init__(self, path: Path) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="l0compile-", suffix=".so")  # noqa: SIM115, kept open
        with path.open("rb") as source:
            shutil.copyfileobj(source, self._file)
        self._file.flush()
        self.module: Any = runtime.load_module(self._file.name)

    def export(self, path: Path) -> None:
        """Write the machine code to ``path``."""
        self._file.seek(0)
        with path.open("wb") as destination:
            shutil.copyfileobj(self._file, destination)
