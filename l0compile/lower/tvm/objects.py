"""Machine code in pieces: an object file for each kernel, made once and kept, and one library linked of them.

A kernel that launches share is named by its content, so that it can be kept for all models; the launches, which call
kernels by name, are one more piece, and so are the computations of shapes. Pieces that are not kept yet are built side
by side.
"""

import hashlib
import platform
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from l0compile.hardware._tvm import cc, relax, runtime, tirx, tvm, tvm_target, vm_build
from l0compile.hardware._tvm_runtime import VERSIONS
from l0compile.hardware.targets import Target, available_cores
from l0compile.kernels.cpu.lanes import SCHEDULED
from l0compile.lower.tvm.code_cache import CodeCache
from l0compile.lower.tvm.launch_source import LinkError, compiled, launch_source
from l0compile.lower.tvm.launches import Joined, JointLaunch
from l0compile.lower.tvm.library import Library
from l0compile.lower.tvm.skipped_passes import skipped_passes

_FORMAT = "2"  # of what is kept
_SHAPES_LEVEL = 0  # of LLVM's optimisation: computations of shapes are run once a call


def can_link(target: Target) -> bool:
    """Return whether a library for ``target`` can be linked, by the options of GNU's linker, and loaded here."""
    here = target.triple.split("-")[0] == platform.machine()
    return sys.platform == "linux" and here and cc.get_cc() is not None


def linked(ready: Joined, target: Target, cache: CodeCache | None) -> Library:
    """Generate code for a scheduled module and link it.

    Args:
        ready: The result of ``scheduled``.
        target: The machine, of this architecture.
        cache: Keeps the pieces; None: nothing is kept.

    Raises:
        LinkError: The compiler or the linker of this machine failed, or its library does not load; other errors are
            those of the code generator.
    """
    builder = relax.ExecBuilder()
    vm_build._vmcodegen(builder, ready.module)
    pieces = list(_pieces(ready, target))
    with tempfile.TemporaryDirectory(prefix="l0compile-") as temporary:
        folder = Path(temporary)
        with ThreadPoolExecutor(available_cores()) as pool:
            jobs = [pool.submit(_code, piece, target, cache) for piece in pieces]
            objects = [_object(folder / f"{i}.o", job.result()) for i, job in enumerate(jobs)]
        static = [
            runtime.load_static_library(str(path), list(piece.names))
            for path, piece in zip(objects, pieces, strict=True)
        ]
        executable = vm_build._vmlink(builder, tvm_target(target), ext_libs=static)
        try:
            # `now`: a symbol that is missing is an error of loading, not the end of the process at the first call.
            executable.export_library(str(folder / "linked.so"), options=["-Wl,-z,now"])
            return Library((folder / "linked.so").read_bytes())
        except (OSError, RuntimeError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise LinkError(f"{cc.get_cc()} could not link a library that loads: {lines[-1]}") from error


def _object(path: Path, code: bytes) -> Path:
    path.write_bytes(code)
    return path


class _Piece(Protocol):
    """What shares an object file.

    Attributes:
        names: Of its functions.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    def content(self) -> str:
        """Return a text that differs where the object file does."""

    def compiled(self, target: Target, folder: Path) -> bytes:
        """Return the object file; files in between go to ``folder``."""


def _code(piece: _Piece, target: Target, cache: CodeCache | None) -> bytes:
    """Return the object file of a piece, from the cache if it is there."""
    key = _key(piece, target) if cache else ""
    kept = cache.get(key) if cache else None
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="l0compile-") as folder:
        made = piece.compiled(target, Path(folder))
    if cache:
        cache.put(key, made)
    return made


def _key(piece: _Piece, target: Target) -> str:
    parts = [_FORMAT, *VERSIONS, str(tvm_target(target)), type(piece).__name__, piece.content()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class _OneFunction:
    """A function that does work of its own.

    Attributes:
        name: Its name.
        function: A ``tirx.PrimFunc`` with a schedule.
        skipped: TVM's passes that are left out.
    """

    name: str
    function: Any
    skipped: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def content(self) -> str:
        return f"{self.name} {' '.join(self.skipped)} {tvm.ir.save_json(self.function)}"

    def compiled(self, target: Target, folder: Path) -> bytes:
        with tvm.transform.PassContext(disabled_pass=self.skipped):
            return _built({self.name: self.function}, tvm_target(target), folder)


@dataclass(frozen=True)
class _Shapes:
    """Computations of shapes."""

    functions: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.functions)

    def content(self) -> str:
        parts = (f"{name} {tvm.ir.save_json(function)}" for name, function in self.functions.items())
        return "\n".join(parts)

    def compiled(self, target: Target, folder: Path) -> bytes:
        machine = tvm.target.Target(dict(tvm_target(target).export()) | {"opt-level": _SHAPES_LEVEL})
        return _built(self.functions, machine, folder)


def _built(functions: dict[str, Any], machine: Any, folder: Path) -> bytes:
    path = folder / "piece.o"
    tvm.tirx.build(tvm.IRModule(functions), target=machine).write_to_file(str(path), "o")
    return path.read_bytes()


@dataclass(frozen=True)
class _Launches:
    """Launches, as tables and a routine in C."""

    launches: tuple[JointLaunch, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(launch.name for launch in self.launches)

    def content(self) -> str:
        return launch_source(self.launches)

    def compiled(self, target: Target, folder: Path) -> bytes:
        return compiled(launch_source(self.launches), folder)


def _pieces(ready: Joined, target: Target) -> Iterator[_Piece]:
    """Iterate over the pieces of a module; what takes longest to build comes first."""
    shapes: dict[str, Any] = {}
    kernels: list[tuple[str, Any]] = []
    for variable, function in ready.module.functions.items():
        if isinstance(function, tirx.PrimFunc):
            if SCHEDULED in (function.attrs or {}):
                kernels.append((variable.name_hint, function))
            else:
                shapes[variable.name_hint] = function
    if ready.launches:
        yield _Launches(ready.launches)
    for name, function in kernels:
        yield _OneFunction(name, function, skipped_passes(function, target))
    if shapes:
        yield _Shapes(shapes)
