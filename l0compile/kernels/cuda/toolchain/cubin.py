"""CUDA C++ to machine code for one architecture, and what the assembler says about it."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from l0compile.errors import BuildError, MissingDependency
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.toolchain.find import find_toolchain

_NO_HOST_COMPILER = (
    "Failed to preprocess host compiler",
    "No such file or directory: 'gcc'",
    "gcc: not found",
)


@dataclass(frozen=True)
class Compiled:
    """Machine code, with what ptxas printed while it assembled it."""

    cubin: bytes
    remarks: str


def cubin(source: str, target: Target) -> bytes:
    """Compile CUDA C++ for ``target``; errors as of ``compile_source``."""
    return compile_source(source, target).cubin


def compile_source(source: str, target: Target) -> Compiled:
    """Compile CUDA C++ for ``target`` with nvcc.

    Raises:
        MissingDependency: there is no nvcc, or no C++ compiler for it to read sources with.
        BuildError: nvcc refuses the source or the architecture; the message holds its own.
    """
    tools = find_toolchain()
    with tempfile.TemporaryDirectory() as folder:
        code, result = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        code.write_text(source)
        # 177: TVM declares variables that it does not use.
        command = [
            str(tools.nvcc),
            "-cubin",
            f"-arch={target.cpu}",
            "-O3",
            "-diag-suppress=177",
            "-Xptxas=-v",
        ]
        done = subprocess.run(
            [*command, "-o", str(result), str(code)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise _refusal(target, tools.version, (done.stderr + done.stdout).strip())
        return Compiled(result.read_bytes(), done.stderr + done.stdout)


def _refusal(target: Target, version: str, said: str) -> Exception:
    if any(sign in said for sign in _NO_HOST_COMPILER):
        return MissingDependency(f"nvcc needs a C++ compiler: {said[-300:]}; install g++ and put it on PATH")
    if re.search(r"Unsupported gpu architecture|not defined for option 'gpu-architecture'", said):
        return BuildError(
            f"target {target.name}: nvcc {version} does not know {target.cpu}; sm_100 needs CUDA 12.8 or later, and "
            "architectures before sm_75 need one before 13; run: pip install 'l0compile[cuda]'"
        )
    return BuildError(f"target {target.name}: nvcc refused the kernel: {said[-800:]}")
