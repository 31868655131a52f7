"""A program for a GPU as one shared library: host code, device code, and facts that tell how to run both."""

import ctypes
import functools
import hashlib
import json
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l0compile.errors import BuildError, L0CompileError, MissingDependency
from l0compile.hardware._tvm_runtime import VERSIONS
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.toolchain import compiler_stamp, cubin, has_nvcc
from l0compile.lower.tvm.code_cache import CodeCache

_OPTIONS = ("-x", "c", "-std=gnu11", "-O1", "-fPIC", "-shared", "-w")
# The bytes of a file, and their number.
_BYTES = """
__asm__(".section .rodata\\n.balign 64\\n.global l0_{name}, l0_{name}_end\\n"
        "l0_{name}:\\n.incbin \\"{path}\\"\\nl0_{name}_end:\\n.byte 0\\n.previous");
extern const char l0_{name}[], l0_{name}_end[];
int64_t l0_{name}_size(void) {{ return l0_{name}_end - l0_{name}; }}
"""


@dataclass(frozen=True)
class DeviceImage:
    """Device code.

    Attributes:
        source: CUDA C++.
        machine_code: of one architecture; empty where there was no compiler.
    """

    source: str
    machine_code: bytes


def device_image(source: str, target: Target, cache: CodeCache | None) -> DeviceImage:
    """Compile device code; without nvcc there is no machine code, and no GPU can run it yet."""
    if not has_nvcc():
        return DeviceImage(source, b"")
    parts = (*VERSIONS, compiler_stamp(), target.cpu, source)
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    kept = cache.get(key) if cache else None
    if kept is None:
        kept = cubin(source, target)
        if cache:
            cache.put(key, kept)
    return DeviceImage(source, kept)


def linked(host: str, image: DeviceImage, compiler: str | None) -> "CudaLibrary":
    """Compile host code and put the image beside it.

    Raises:
        MissingDependency: this machine has no C compiler.
        BuildError: it refuses the code.
    """
    if compiler is None:
        raise MissingDependency("code for a GPU needs a C compiler for its host part; install gcc or clang")
    with tempfile.TemporaryDirectory(prefix="l0compile-") as temporary:
        folder = Path(temporary)
        (folder / "machine_code").write_bytes(image.machine_code)
        (folder / "source").write_bytes(zlib.compress(image.source.encode()))
        code = host + "".join(
            _BYTES.format(name=name, path=folder / name) for name in ("machine_code", "source")
        )
        (folder / "host.c").write_text(code)
        command = [compiler, *_OPTIONS, str(folder / "host.c"), "-o", str(folder / "host.so")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise BuildError(f"{compiler} could not compile the host code: {lines[0]}")
        return CudaLibrary((folder / "host.so").read_bytes())


@dataclass(frozen=True)
class KernelFact:
    """A kernel of the image.

    Attributes:
        name: its name there.
        parameters: C types; "*" for a pointer.
        function: the one that launches it, as ``Launch.function`` of our kernels.
        number: of the launch in that function.
    """

    name: str
    parameters: tuple[str, ...]
    function: str
    number: int


class _HostState(ctypes.Structure):
    """``Host`` of host.c."""

    _fields_ = (
        ("launch", ctypes.c_void_p),
        ("kernels", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
        ("failed", ctypes.c_int32),
    )


class HostError(L0CompileError):
    """A launch failed: ``code`` of the driver, or -1 for a grid too large; ``kernel`` is its name."""

    def __init__(self, code: int, kernel: str) -> None:
        super().__init__(f"kernel {kernel}: {code}")
        self.code, self.kernel = code, kernel


class CudaLibrary:
    """The library; loaded as a copy of its own, like :class:`l0compile.lower.tvm.library.Library`."""

    module: Any = None  # nothing for a virtual machine of TVM

    def __init__(self, content: bytes) -> None:
        """``content``: of a shared library that :func:`linked` made."""
        self._content = content

    def content(self) -> bytes:
        """Return the shared library."""
        return self._content

    def export(self, path: Path) -> None:
        """Write the library to ``path``."""
        path.write_bytes(self._content)

    @functools.cached_property
    def _library(self) -> ctypes.CDLL:
        self._file = tempfile.NamedTemporaryFile(prefix="l0compile-", suffix=".so")  # noqa: SIM115, kept open
        self._file.write(self._content)
        self._file.flush()
        found = ctypes.CDLL(self._file.name)
        found.l0_facts.restype = ctypes.c_char_p
        found.l0_workspace.restype = ctypes.c_int64
        return found

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """Return what the library tells of itself; see ``host_code``."""
        found: dict[str, Any] = json.loads(self._library.l0_facts())
        return found

    @functools.cached_property
    def kernels(self) -> tuple[KernelFact, ...]:
        """The kernels, in the order in which the host code numbers them."""
        return tuple(
            KernelFact(each["name"], tuple(each["parameters"]), each["function"], each["number"])
            for each in self.facts["kernels"]
        )

    @functools.cached_property
    def machine_code(self) -> bytes:
        """The kernels for their architecture; empty where they were compiled without nvcc."""
        return self._bytes("machine_code")

    @functools.cached_property
    def source(self) -> str:
        """The kernels as CUDA C++."""
        return zlib.decompress(self._bytes("source")).decode()

    def _bytes(self, name: str) -> bytes:
        place = ctypes.c_char.in_dll(self._library, f"l0_{name}")
        size = getattr(self._library, f"l0_{name}_size")
        size.restype = ctypes.c_int64
        return ctypes.string_at(ctypes.addressof(place), size())

    def sizes(self, shapes: Sequence[Sequence[int]]) -> list[int]:
        """The sizes that the host code asks for, from the shapes of the inputs."""
        return [int(shapes[place][axis]) for place, axis in self.facts["sizes"]]

    def workspace(self, sizes: Sequence[int]) -> int:
        """Bytes of the values in between."""
        return int(self._library.l0_workspace(_numbers(sizes)))

    def result_shapes(self, sizes: Sequence[int]) -> list[tuple[int, ...]]:
        """The shapes of the results."""
        ranks = [each["rank"] for each in self.facts["results"]]
        flat = (ctypes.c_int64 * (sum(ranks) or 1))()
        self._library.l0_shapes(_numbers(sizes), flat)
        left = iter(flat)
        return [tuple(next(left) for _ in range(rank)) for rank in ranks]

    def run(
        self,
        launch: int,
        kernels: Sequence[int],
        stream: int,
        sizes: Sequence[int],
        workspace: int,
        inputs: Sequence[int],
        results: Sequence[int],
    ) -> None:
        """Launch the kernels of one call.

        Args:
            launch: address of the driver's cuLaunchKernel, or of a function with its parameters.
            kernels: handles of the kernels.
            stream: handle of the stream.
            sizes: as :meth:`sizes` gives them.
            workspace: address of memory of :meth:`workspace` bytes.
            inputs: addresses of inputs, parameters and constants, in this order.
            results: addresses of the memory for results.

        Raises:
            HostError: a kernel could not be launched.
        """
        handles = _addresses(kernels)
        host = _HostState(launch, ctypes.cast(handles, ctypes.c_void_p), stream, -1)
        code = self._library.l0_run(
            ctypes.byref(host),
            _numbers(sizes),
            ctypes.c_void_p(workspace),
            _addresses(inputs),
            _addresses(results),
        )
        if code:
            raise HostError(code, self.kernels[host.failed].name)

    def constants(self) -> list[np.ndarray[Any, Any]]:
        """Numbers of the program that are no parameters of the model, as bytes in the shape that the kernels read."""
        return [
            np.frombuffer(bytes.fromhex(each["bytes"]), np.uint8).copy() for each in self.facts["constants"]
        ]


def _numbers(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * max(1, len(values)))(*values)


def _addresses(values: Sequence[int]) -> Any:
    return (ctypes.c_void_p * max(1, len(values)))(*values)
