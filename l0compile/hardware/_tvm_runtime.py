"""The part of TVM that runs compiled code: its runtime library, without the compiler and without TVM's Python package.

A process that only calls compiled models starts two seconds sooner this way, and does not hold the compiler in memory.
TVM reads its thread settings once per process, and with the wrong FFI wheel dies by segmentation fault instead of
raising. Both are handled here, before the library is loaded, so that no other file has to know.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l0compile.errors import MissingDependency
from l0compile.hardware.targets import available_cores

INSTALL = 'pip install "apache-tvm==0.27.*" "apache-tvm-ffi==0.1.14.post1"'
_REQUIRED = {"apache-tvm": "0.27", "apache-tvm-ffi": "0.1.14"}


def check_versions() -> None:
    """Raise ``MissingDependency`` unless the installed TVM wheels are ones that work together.

    apache-tvm-ffi 0.1.15 with apache-tvm 0.27 crashes the process in ``tensorize`` and ``save_json``; pip
    picks that pair when nothing pins it, and a crash cannot be caught later, so the metadata is read before
    the import.
    """
    for package, wanted in _REQUIRED.items():
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise MissingDependency(
                f"compiling needs {package} {wanted}.*, which is not installed; run: {INSTALL}"
            ) from None
        if found != wanted and not found.startswith(wanted + "."):
            raise MissingDependency(
                f"compiling needs {package} {wanted}.*, found {found}, which can crash it; run: {INSTALL}"
            )


def _set_environment() -> None:
    # Read by the C++ runtime when its thread pool starts. On x86 TVM halves the core count for hyper-threads,
    # which leaves one thread on a two-core virtual machine.
    os.environ.setdefault("TVM_NUM_THREADS", str(available_cores()))
    # Pinning would also pin the calling thread, and with it every PyTorch thread started from it afterwards.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    # TVM's own 300 000 rounds are 80 ms in which PyTorch, in islands or after a call, has half of two cores. Workers
    # that sleep at once cost about 20 microseconds a parallel loop, 15 % of a pruned encoder. These rounds take 5 ms.
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "20000")


check_versions()
_set_environment()
VERSIONS = tuple(f"{package} {importlib.metadata.version(package)}" for package in _REQUIRED)
"""The installed wheels of TVM."""

try:
    import tvm_ffi
    from tvm_ffi.libinfo import load_lib_ctypes

    _PACKAGE = importlib.util.find_spec("tvm")  # found, not imported
    _FOLDERS = [Path(place) / "lib" for place in (_PACKAGE and _PACKAGE.submodule_search_locations) or ()]
    # As TVM's own package loads it, whenever that is imported later: one library, loaded once.
    _LIBRARY: ctypes.CDLL = load_lib_ctypes("tvm", "tvm_runtime", "RTLD_GLOBAL", extra_lib_paths=_FOLDERS)
except (ImportError, OSError, RuntimeError) as error:
    raise MissingDependency(f"apache-tvm is installed but does not load ({error}); run: {INSTALL}") from error

# Exported to C++ alone. `runtime.config_threadpool` can limit a calling thread to one as well, but not undo it.
_set_most_threads = _LIBRARY._ZN3tvm7runtime9threading17SetMaxConcurrencyEi
_set_threads = tvm_ffi.get_global_func("runtime.config_threadpool")
_BIG_CORES = 1  # which cores to take: what a pool starts with
_CPU, _POOLED = 1, 2  # of DLPack's devices, of the allocators of the virtual machine

_count, _item = tvm_ffi.get_global_func("ffi.ArraySize"), tvm_ffi.get_global_func("ffi.ArrayGetItem")

load_module = tvm_ffi.load_module
from_dlpack = tvm_ffi.from_dlpack
global_function = tvm_ffi.get_global_func


def array_of(items: Sequence[Any]) -> Any:
    """Return an array of TVM, which need not be made of a list in each call."""
    return tvm_ffi.convert(list(items))


def items_of(array: Any) -> list[Any]:
    """Return what an array of TVM holds, in a third of the time that its own iterator takes."""
    return [_item(array, number) for number in range(_count(array))]


class VirtualMachine:
    """Runs the functions of a module that Relax's code generator made, on the CPU; ``machine["main"]`` is one."""

    def __init__(self, module: Any) -> None:
        """``module``: a loaded library."""
        self._module = module["vm_load_executable"]()
        self._module["vm_initialization"](_CPU, 0, _POOLED)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """Return a function by name."""
        return self._module[name]

    def set_instrument(self, note: Callable[..., Any]) -> None:
        """Call ``note`` before and after each function that the machine calls."""
        self._module["set_instrument"](note)


class _Pool(threading.local):
    """TVM's threads for the calling thread, started when they are first needed.

    used: how many of them, where that was set; None: what ``TVM_NUM_THREADS`` says, which is also the most.
    """

    used: int | None = None


_POOL = _Pool()


@contextmanager
def tvm_threads(count: int) -> Iterator[None]:
    """Run kernels on ``count`` threads, the calling one included, or on ``TVM_NUM_THREADS`` if that is less.

    Each calling thread has threads of its own; one alone needs none, and starts none.
    """
    if count == 1:
        _set_most_threads(1)
        try:
            yield
        finally:
            _set_most_threads(0)
        return
    if count != _POOL.used:
        _set_threads(0, count, [])
        _POOL.used = count
    yield


def use_all_threads() -> None:
    """Run kernels on as many threads as ``TVM_NUM_THREADS`` says; costs nothing where that is so."""
    if _POOL.used is not None:
        _set_threads(_BIG_CORES, 0, [])
        _POOL.used = None
