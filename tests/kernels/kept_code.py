"""Machine code of single kernels, made once for each content: by the other process of the tests, or an earlier run."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from l0compile.hardware._tvm import tvm, tvm_target
from l0compile.hardware._tvm_runtime import VERSIONS
from l0compile.hardware.targets import Target, load_target
from l0compile.lower.tvm.code_cache import user_cache
from l0compile.lower.tvm.library import Library
from l0compile.lower.tvm.skipped_passes import skipped_passes


def kept_code(function: Any) -> Callable[..., None]:
    """Compile a ``PrimFunc`` for this machine; the result takes arrays of TVM, and checks them."""

    def library(executable: Any) -> bytes:
        with tempfile.TemporaryDirectory(prefix="l0compile-tests-") as folder:
            path = Path(folder) / "kernel.so"
            executable.export_library(str(path))
            return path.read_bytes()

    main: Callable[..., None] = Library(_kept("library", function, load_target("native"), library)).module[
        "main"
    ]
    return main


def kept_assembly(function: Any, target: Target) -> str:
    """Compile a ``PrimFunc`` for ``target``, and return the assembly code."""

    def assembly(executable: Any) -> bytes:
        return str(executable.mod.inspect_source("asm")).encode()

    return _kept("assembly", function, target, assembly).decode()


def _kept(kind: str, function: Any, target: Target, content: Callable[[Any], bytes]) -> bytes:
    function, machine, cache = function.with_attr("global_symbol", "main"), tvm_target(target), user_cache()
    skipped = skipped_passes(function, target)
    parts = (f"tests: {kind}", *VERSIONS, str(machine), *skipped, tvm.ir.save_json(function))
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    found = cache.get(key) if cache else None
    if found is None:
        with tvm.transform.PassContext(disabled_pass=skipped):
            found = content(tvm.compile(function, target=machine))
        if cache:
            cache.put(key, found)
    return found
