"""The guard around loading TVM, and what of it a process loads."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from l0compile.errors import MissingDependency
from l0compile.hardware import _tvm, _tvm_runtime
from l0compile.hardware.targets import available_cores, list_targets, load_target


@pytest.mark.parametrize("version", ["0.1.15.post2", "0.1.13", "0.1.140"])
def test_a_crashing_ffi_wheel_is_refused_before_the_import(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: version if name.endswith("ffi") else "0.27.0.post1"
    )
    with pytest.raises(MissingDependency, match=rf"apache-tvm-ffi 0\.1\.14.*found {version}.*pip install"):
        _tvm_runtime.check_versions()


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(MissingDependency, match="not installed; run: pip install"):
        _tvm_runtime.check_versions()


@pytest.mark.parametrize(("given", "expected"), [(None, str(available_cores())), ("7", "7")])
def test_threads_are_set_unless_the_user_did(given: str | None, expected: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TVM_")}
    env |= {"TVM_NUM_THREADS": given} if given else {}
    names = ("NUM_THREADS", "BIND_THREADS", "THREAD_POOL_SPIN_COUNT")
    code = "import os, l0compile.hardware._tvm_runtime\n"
    code += f"print(*(os.environ['TVM_' + name] for name in {names}))"
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [expected, "0", "20000"]


@pytest.mark.parametrize("name", list_targets())
def test_every_target_is_one_for_tvm(name: str) -> None:
    target = load_target(name)
    made = _tvm.tvm_target(target)
    assert made.kind.name == target.kind
    assert made.attrs["arch" if target.kind == "cuda" else "mcpu"] == target.cpu
    assert (made.host is not None) == (target.kind == "cuda")


def test_the_runtime_runs_without_the_python_package() -> None:
    code = """
import sys
from l0compile.hardware._tvm_runtime import global_function
assert global_function("vm.builtin.memory_manager.clear") is not None
loaded = [name for name in sys.modules if name.split(".")[0] == "tvm"]
assert not loaded, loaded
assert not any("tvm_compiler" in line for line in open("/proc/self/maps")) if sys.platform == "linux" else True
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_and_the_runtime_are_one_library() -> None:
    code = """
from l0compile.hardware._tvm_runtime import global_function
from l0compile.hardware._tvm import tvm
tvm.register_global_func("l0compile.test", lambda: 7)
assert global_function("l0compile.test")() == 7
"""
    subprocess.run([sys.executable, "-c", code], check=True)
