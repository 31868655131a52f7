"""From a PrimFunc to CUDA source and, with the CUDA toolkit, to a cubin. Needs no GPU."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from l0compile.errors import BuildError, MissingDependency, TargetError
from l0compile.hardware._tvm import tvm, tvm_target
from l0compile.hardware.targets import Target


def cuda_source(function: Any, target: Target) -> str:
    """The CUDA C++ that TVM generates for ``function``.

    Raises:
        TargetError: the target is not a GPU.
        BuildError: TVM made host code of it, as it does without a word for a function without thread bindings.
    """
    if target.kind != "cuda":
        raise TargetError(f"target {target.name}: expected a CUDA target, got kind {target.kind!r}")
    executable = tvm.compile(function, target=tvm_target(target))
    if not executable.mod.imports:
        raise BuildError(
            f"target {target.name}: expected a kernel, got a loop on the host; bind its loops to blocks and threads"
        )
    return str(executable.mod.imports[0].inspect_source("cuda"))


def cubin(source: str, target: Target) -> bytes:
    """Compile CUDA C++ for ``target`` with nvcc.

    Raises: MissingDependency without nvcc; BuildError with nvcc's own message when it refuses the source.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise MissingDependency(
            "compiling CUDA kernels needs nvcc; install the CUDA toolkit (12 or later) and put it on PATH"
        )
    with tempfile.TemporaryDirectory() as folder:
        code, result = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        code.write_text(source)
        command = [nvcc, "-cubin", f"-arch={target.cpu}", "-O3", "-o", str(result), str(code)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"target {target.name}: nvcc refused the kernel: {done.stderr.strip()[-800:]}")
        return result.read_bytes()
