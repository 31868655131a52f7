"""Symbolic sizes: sympy expressions of torch -> TensorIR expressions."""

from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import CleanDiv, FloorDiv, Max, Min, Mod, PythonMod

from l0compile.errors import BuildError
from l0compile.hardware._tvm import tirx
from l0compile.ir.nodes import expression


class Symbols:
    """The int64 variables of the size symbols of a program."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}

    def dimension(self, size: int | torch.SymInt) -> Any:
        """Return ``size`` as a Python int or a TensorIR expression.

        Raises:
            BuildError: The size is not integer arithmetic on input sizes.
        """
        return int(size) if isinstance(size, int) else self._expression(expression(size))

    def shape(self, shape: Any) -> list[Any]:
        """Return the sizes of a shape as Python ints and TensorIR expressions."""
        return [self.dimension(size) for size in shape]

    def _expression(self, e: Any) -> Any:
        if e.is_Integer:
            return tirx.const(int(e), "int64")
        if e.is_Symbol:
            return self.variables.setdefault(str(e), tirx.Var(str(e), "int64"))
        if isinstance(e, FloorDiv | CleanDiv | Mod | PythonMod) and e.args[1].atoms(FloorDiv, CleanDiv):
            # TVM's simplifier takes minutes for quotients of quotients, or never ends.
            raise BuildError(
                f"size {e}: expected a divisor without a division in it; where {e.args[1]} divides a dimension of an "
                "input, fix that dimension or make it a multiple in dynamic_shapes"
            )
        args = [self._expression(a) for a in e.args]
        match e:
            case sympy.Add():
                return _fold(args, lambda a, b: a + b)
            case sympy.Mul():
                return _fold(args, lambda a, b: a * b)
            case FloorDiv() | CleanDiv():
                return tirx.floordiv(args[0], args[1])
            case Mod() | PythonMod():
                return tirx.floormod(args[0], args[1])
            case Max() | sympy.Max():
                return _fold(args, tirx.max)
            case Min() | sympy.Min():
                return _fold(args, tirx.min)
            case sympy.Pow() if e.args[1].is_Integer and int(e.args[1]) > 0:
                return _fold([args[0]] * int(e.args[1]), lambda a, b: a * b)
        raise BuildError(f"size {e}: expected integer arithmetic on input sizes, got {type(e).__name__}")


def _fold(values: list[Any], operator: Any) -> Any:
    result = values[0]
    for value in values[1:]:
        result = operator(result, value)
    return result
