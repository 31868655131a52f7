"""Machine code in this process: loaded from a shared library, or generated in memory."""

import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

from l0compile.hardware._tvm import runtime


class MachineCode(Protocol):
    """What a virtual machine runs.

    Attributes:
        module: A ``tvm.runtime.Module``.
    """

    module: Any

    def export(self, path: Path) -> None:
        """Write the machine code to ``path``, as a shared library."""


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


class InMemory:
    """Machine code that was generated where there is no linker for it, or none is needed."""

    def __init__(self, executable: Any) -> None:
        """``executable``: A ``relax.VMExecutable``."""
        self._executable = executable
        self.module: Any = executable.mod

    def export(self, path: Path) -> None:
        """Link the machine code at ``path``."""
        self._executable.export_library(str(path))
