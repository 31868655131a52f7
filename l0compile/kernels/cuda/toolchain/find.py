"""Where nvcc and the readers of machine code are: in NVIDIA's wheels beside this package, or on PATH."""

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l0compile.errors import BuildError, MissingDependency

_ASSEMBLER, _FRONT_END = "nvidia-cuda-nvcc", "nvidia-nvvm"
_INSTALL = "pip install 'l0compile[cuda]', or install the CUDA toolkit (12.8 or later) and put its bin folder on PATH"
# What nvcc of the wheel needs beside itself -> the wheel that brings it.
_COMPANIONS = {
    "nvvm/bin/cicc": "nvidia-nvvm",
    "bin/crt/link.stub": "nvidia-cuda-crt",
    "include/cuda_fp16.h": "nvidia-cuda-runtime",
    "include/cccl/nv/target": "nvidia-cuda-cccl",
}


@dataclass(frozen=True)
class Toolchain:
    """The tools that were found.

    Attributes:
        nvcc: the compiler.
        version: of nvcc, such as "13.5.37".
        cuobjdump: lists machine code; None where it is not installed.
        nvdisasm: what cuobjdump reads instructions by; None where it is not installed.
    """

    nvcc: Path
    version: str
    cuobjdump: Path | None
    nvdisasm: Path | None

    def disassembler(self) -> tuple[Path, Path]:
        """``cuobjdump`` and ``nvdisasm``.

        Raises:
            MissingDependency: one of them is not installed.
        """
        if self.cuobjdump is None or self.nvdisasm is None:
            missing = "cuobjdump" if self.cuobjdump is None else "nvdisasm"
            raise MissingDependency(
                f"reading the machine code of CUDA kernels needs {missing}; run: {_INSTALL}"
            )
        return self.cuobjdump, self.nvdisasm


def has_nvcc() -> bool:
    """Whether CUDA kernels can be compiled here."""
    return _nvcc() is not None


def compiler_stamp() -> str:
    """Such as "nvcc 13.5.37", or "no nvcc": what machine code depends on beside its source.

    Raises:
        BuildError: nvcc does not start.
    """
    nvcc = _nvcc()
    return "no nvcc" if nvcc is None else f"nvcc {_version(nvcc)}"


def find_toolchain() -> Toolchain:
    """The tools of this machine. The wheels go first: they are there because someone installed them for this.

    Raises:
        MissingDependency: there is no nvcc, or its wheel lacks parts, or they do not fit together; the message says
            what to install.
        BuildError: nvcc does not start.
    """
    nvcc = _nvcc()
    if nvcc is None:
        lacking = _lacking()
        detail = f"; its wheel is here, but not {', '.join(lacking)}" if lacking else ""
        raise MissingDependency(f"compiling CUDA kernels needs nvcc{detail}; run: {_INSTALL}")
    if nvcc == _in_wheel("nvcc"):
        check_versions({wheel: importlib.metadata.version(wheel) for wheel in (_ASSEMBLER, _FRONT_END)})
    return Toolchain(nvcc, _version(nvcc), _tool("cuobjdump"), _tool("nvdisasm"))


def check_versions(versions: Mapping[str, str]) -> None:
    """Check that one wheel assembles what the other writes: pip installs any two of them together.

    Args:
        versions: wheel -> its version, of ``nvidia-cuda-nvcc``, which has the assembler, and of ``nvidia-nvvm``.

    Raises:
        MissingDependency: the front end is newer than the assembler, which then refuses every kernel.
    """
    (major, minor), front = (
        tuple(map(int, versions[wheel].split(".")[:2])) for wheel in (_ASSEMBLER, _FRONT_END)
    )
    if front > (major, minor):
        raise MissingDependency(
            f"{_FRONT_END} {versions[_FRONT_END]} writes code that the assembler in {_ASSEMBLER} "
            f"{versions[_ASSEMBLER]} refuses; run: pip install '{_FRONT_END}=={major}.{minor}.*'"
        )


def _nvcc() -> Path | None:
    wheel = _in_wheel("nvcc")
    return wheel if wheel and not _lacking() else _on_path("nvcc")


def _tool(name: str) -> Path | None:
    return _in_wheel(name) or _on_path(name)


def _lacking() -> list[str]:
    """Wheels that nvcc's wheel needs and that are not installed; empty without nvcc's wheel."""
    nvcc = _in_wheel("nvcc")
    if nvcc is None:
        return []
    return [wheel for file, wheel in _COMPANIONS.items() if not (nvcc.parents[1] / file).exists()]


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _in_wheel(name: str) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(f"nvidia-cuda-{name}")
    except importlib.metadata.PackageNotFoundError:
        return None
    # nvidia/cu13/bin/nvcc; the number is that of the major version.
    for file in distribution.files or ():
        if file.parts[-2:] == ("bin", name):
            path = Path(str(distribution.locate_file(file)))
            return path if os.access(path, os.X_OK) else None
    return None


@functools.cache
def _version(nvcc: Path) -> str:
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"{nvcc}: does not start: {error}; run: {_INSTALL}") from error
    found = re.search(r"\bV(\d+(?:\.\d+)+)", said)
    return found.group(1) if found else "unknown"
