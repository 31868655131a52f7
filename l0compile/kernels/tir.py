"""TensorIR's builder for kernels, loaded when the first kernel is emitted.

A kernel's definition is also read where nothing is compiled: to price a layer, to check a cost record. That must not
load TVM, nor fail where TVM is not installed.
"""

from typing import Any


class _Deferred:
    """An object of ``hardware._tvm`` that is imported when one of its attributes is first read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        from l0compile.hardware import _tvm

        value = getattr(getattr(_tvm, self._name), attribute)
        setattr(self, attribute, value)
        return value


TB: Any = _Deferred("TB")
tirx: Any = _Deferred("tirx")


def ir_builder() -> Any:
    """A new ``IRBuilder``."""
    from l0compile.hardware import _tvm

    return _tvm.IRBuilder()
