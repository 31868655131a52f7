"""Machine code in pieces: an object file for each kernel, made once and kept, and one library linked of them.

A kernel that launches share is named by its content, so that it can be kept for all models; the launches, which call
kernels by name, and the computations of shapes are one more piece. Pieces that are not kept yet are built side by side.
"""

import hashlib
import platform
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile.errors import BuildError
from l0compile.hardware._tvm import cc, relax, runtime, tirx, tvm, tvm_target, vm_build
from l0compile.hardware._tvm_runtime import VERSIONS
from l0compile.hardware.targets import Target, available_cores
from l0compile.kernels.cpu.lanes import SCHEDULED
from l0compile.lower.tvm.code_cache import CodeCache
from l0compile.lower.tvm.launches import CALLS, kernel_symbol
from l0compile.lower.tvm.library import Library

_FORMAT = "1"  # of what is kept
_GLUE_LEVEL = 0  # of LLVM's optimisation: the launches only pass arguments on, but there are many


class LinkError(BuildError):
    """The linker of this machine failed, or made what cannot be loaded, as where temporary files may hold no code."""


def can_link(target: Target) -> bool:
    """Return whether a library for ``target`` can be linked, by the options of GNU's linker, and loaded here."""
    here = target.triple.split("-")[0] == platform.machine()
    return sys.platform == "linux" and here and cc.get_cc() is not None


def linked(module: Any, target: Target, cache: CodeCache | None) -> Library:
    """Generate code for a scheduled module and link it.

    Args:
        module: The result of ``scheduled``.
        target: The machine, of this architecture.
        cache: Keeps the pieces; None: nothing is kept.

    Raises:
        LinkError: The linker failed, or its library does not load; other errors are those of the code generator.
    """
    builder = relax.ExecBuilder()
    vm_build._vmcodegen(builder, module)
    pieces = list(_pieces(module))
    with tempfile.TemporaryDirectory(prefix="l0compile-") as temporary:
        folder = Path(temporary)
        with ThreadPoolExecutor(available_cores()) as pool:
            jobs = [pool.submit(piece.code, target, cache) for piece in pieces]
            objects = [_object(folder / f"{i}.o", job.result()) for i, job in enumerate(jobs)]
        static = [
            runtime.load_static_library(str(path), list(piece.functions))
            for path, piece in zip(objects, pieces, strict=True)
        ]
        executable = vm_build._vmlink(builder, tvm_target(target), ext_libs=static)
        options = folder / "options"
        # `now`: a symbol that is missing is an error of loading, not the end of the process at the first call.
        options.write_text("\n".join(["-Wl,-z,now", *_same_symbols(module)]))
        try:
            executable.export_library(str(folder / "linked.so"), options=[f"@{options}"])
            return Library((folder / "linked.so").read_bytes())
        except (OSError, RuntimeError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise LinkError(f"{cc.get_cc()} could not link a library that loads: {lines[-1]}") from error


def _same_symbols(module: Any) -> Iterator[str]:
    """Iterate over options of the linker that give each kernel the names by which the launches call it."""
    for function in module.functions.values():
        for call in (function.attrs or {}).get(CALLS, ()):
            yield f"-Wl,--defsym={call}={kernel_symbol(call)}"


def _object(path: Path, code: bytes) -> Path:
    path.write_bytes(code)
    return path


@dataclass(frozen=True)
class _Piece:
    """Functions that share an object file.

    Attributes:
        functions: Name -> ``tirx.PrimFunc``.
        glue: They only call others, or compute shapes.
    """

    functions: dict[str, Any]
    glue: bool

    def code(self, target: Target, cache: CodeCache | None) -> bytes:
        """Return the object file, from the cache if it is there."""
        key = self._key(target) if cache else ""
        kept = cache.get(key) if cache else None
        if kept is not None:
            return kept
        made = self._compiled(target)
        if cache:
            cache.put(key, made)
        return made

    def _key(self, target: Target) -> str:
        parts = [_FORMAT, *VERSIONS, str(tvm_target(target)), str(self.glue)]
        parts += [f"{name} {tvm.ir.save_json(function)}" for name, function in self.functions.items()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _compiled(self, target: Target) -> bytes:
        machine = tvm_target(target)
        if self.glue:
            machine = tvm.target.Target(dict(machine.export()) | {"opt-level": _GLUE_LEVEL})
        with tempfile.TemporaryDirectory(prefix="l0compile-") as folder:
            path = Path(folder) / "piece.o"
            tvm.tirx.build(tvm.IRModule(self.functions), target=machine).write_to_file(str(path), "o")
            return path.read_bytes()


def _pieces(module: Any) -> Iterator[_Piece]:
    """Iterate over the pieces of a module; the one with most to build comes first."""
    glue: dict[str, Any] = {}
    kernels: list[_Piece] = []
    for variable, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc):
            attributes = function.attrs or {}
            # Neither launches nor the computations of shapes, which have no schedule, do any work of their own.
            if SCHEDULED in attributes and CALLS not in attributes:
                kernels.append(_Piece({variable.name_hint: function}, glue=False))
            else:
                glue[variable.name_hint] = function
    if glue:
        yield _Piece(glue, glue=True)
    yield from kernels
