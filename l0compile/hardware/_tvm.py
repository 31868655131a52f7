"""The only place that imports TVM's Python package, the compiler; it names the 0.27 API, which changes by release.

The package is imported when something in it is first used: a model whose machine code is kept already needs none of it.
"""

import functools
import importlib
from typing import TYPE_CHECKING, Any

from l0compile.errors import MissingDependency
from l0compile.hardware._tvm_runtime import INSTALL
from l0compile.hardware.targets import Target

if TYPE_CHECKING:
    import tvm
    from tvm import relax, runtime, s_tir, te, tirx, topi
    from tvm.relax import vm_build
    from tvm.s_tir import dlight
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as TB
    from tvm.support import cc
else:

    class _Later:
        """A module that is imported when one of its attributes is first read."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(_imported(self._name), attribute)
            setattr(self, attribute, value)
            return value

    tvm, relax, runtime, s_tir, te, tirx, topi, vm_build, dlight, TB, cc = map(
        _Later,
        (
            "tvm", "tvm.relax", "tvm.runtime", "tvm.s_tir", "tvm.te", "tvm.tirx", "tvm.topi", "tvm.relax.vm_build",
            "tvm.s_tir.dlight", "tvm.script.ir_builder.tirx", "tvm.support.cc",
        ),
    )  # fmt: skip

    def IRBuilder() -> Any:
        """Make a ``tvm.script.ir_builder.IRBuilder``."""
        return _imported("tvm.script.ir_builder").IRBuilder()


__all__ = [
    "TB",
    "IRBuilder",
    "cc",
    "dlight",
    "relax",
    "runtime",
    "s_tir",
    "te",
    "tirx",
    "topi",
    "tvm",
    "tvm_target",
    "vm_build",
]


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(
            f"apache-tvm is installed but does not import ({error}); run: {INSTALL}"
        ) from error


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
