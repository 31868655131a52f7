"""Machine code in this process: loaded from a shared library, or generated in memory."""

import tempfile
from pathlib import Path
from typing import Any, Protocol

from l0compile.hardware._tvm_runtime import load_module


class MachineCode(Protocol):
    """What a virtual machine runs.

    Attributes:
        module: A module of TVM's runtime.
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

    def __init__(self, content: bytes) -> None:
        """``content``: Of a shared library."""
        self._file = tempfile.NamedTemporaryFile(prefix="l0compile-", suffix=".so")  # noqa: SIM115, kept open
        self._file.write(content)
        self._file.flush()
        self.module: Any = load_module(self._file.name)

    def content(self) -> bytes:
        """Return the shared library."""
        self._file.seek(0)
        return self._file.read()

    def export(self, path: Path) -> None:
        """Write the machine code to ``path``."""
        path.write_bytes(self.content())


class InMemory:
    """Machine code that was generated where there is no linker for it, or none is needed."""

    def __init__(self, executable: Any) -> None:
        """``executable``: A ``relax.VMExecutable``."""
        self._executable = executable
        self.module: Any = executable.jit()

    def export(self, path: Path) -> None:
        """Link the machine code at ``path``."""
        self._executable.export_library(str(path))
