"""The only place that imports TVM: checks versions, sets its environment, names the 0.27 API.

TVM renames modules between releases, reads its thread settings once per process, and with the wrong FFI
wheel dies by segmentation fault instead of raising. All three are handled here so that no other file has
to know.
"""

import ctypes
import functools
import importlib.metadata
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l0compile.errors import MissingDependency
from l0compile.hardware.targets import Target, available_cores

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
    # TVM_THREAD_POOL_SPIN_COUNT stays as the user has it. Workers that sleep at once cost about 20 microseconds a
    # parallel loop, 15 % of a pruned encoder; a program that alternates with PyTorch call by call may still want 0.


check_versions()
_set_environment()

try:
    import tvm
    from tvm import relax, runtime, s_tir, te, tirx, topi
    from tvm.relax import vm_build
    from tvm.script import tirx as T
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as TB
    from tvm.support.cc import get_cc
except ImportError as error:
    raise MissingDependency(
        f"apache-tvm is installed but does not import ({error}); run: {INSTALL}"
    ) from error

# Exported to C++ alone. `runtime.config_threadpool` can limit a calling thread to one as well, but not undo it.
_set_most_threads = ctypes.CDLL(
    str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime.so")
)._ZN3tvm7runtime9threading17SetMaxConcurrencyEi
_set_threads = tvm.get_global_func("runtime.config_threadpool")
_BIG_CORES = 1  # which cores to take: what a pool starts with

__all__ = [
    "INSTALL",
    "TB",
    "IRBuilder",
    "T",
    "check_versions",
    "get_cc",
    "relax",
    "runtime",
    "s_tir",
    "te",
    "tirx",
    "topi",
    "tvm",
    "tvm_target",
    "tvm_threads",
    "use_all_threads",
    "vm_build",
]


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


@functools.lru_cache(maxsize=64)
def tvm_target(target: Target) -> "tvm.target.Target":
    """The ``tvm.target.Target`` that generates code for ``target`` (CUDA: host code for this machine)."""
    if target.kind == "cuda":
        return tvm.target.Target({"kind": "cuda", "arch": target.cpu}, host={"kind": "llvm"})
    config: dict[str, object] = {
        "kind": "llvm",
        "mtriple": target.triple,
        "mcpu": target.cpu,
        "num-cores": target.cores,
    }
    if features := [*target.attrs, *(f"+{name}" for name in target.dot_products)]:
        config["mattr"] = features
    return tvm.target.Target(config)
