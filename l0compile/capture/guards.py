"""What tracing assumed about sizes: the guards of torch's shape environment as conditions to check at every call."""

from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._sympy import functions as torch_sympy

from l0compile.capture.program import Program
from l0compile.conditions import Condition
from l0compile.errors import CaptureError

_OPERATORS: tuple[tuple[tuple[Any, ...], str], ...] = (
    ((sympy.Add,), "+"),
    ((sympy.Mul,), "*"),
    ((sympy.Pow,), "**"),
    ((torch_sympy.FloorDiv, torch_sympy.CleanDiv), "//"),
    ((torch_sympy.Mod, torch_sympy.PythonMod, sympy.Mod), "%"),
    ((torch_sympy.Min, sympy.Min), "min"),
    ((torch_sympy.Max, sympy.Max), "max"),
    ((sympy.Eq,), "=="),
    ((sympy.Ne,), "!="),
    ((sympy.StrictLessThan,), "<"),
    ((sympy.LessThan,), "<="),
    ((sympy.StrictGreaterThan,), ">"),
    ((sympy.GreaterThan,), ">="),
    ((sympy.And,), "and"),
    ((sympy.Or,), "or"),
    ((sympy.Not,), "not"),
)


def size_conditions(program: Program) -> tuple[Condition, ...]:
    """The guards that the ranges of the size symbols do not already imply, without duplicates.

    ``x if x.shape[0] < x.shape[1] else -x`` is traced along one branch; the graph is right for other sizes only while
    that comparison comes out the same.

    Raises: CaptureError for a guard that cannot be written as integer arithmetic on input sizes.
    """
    environment = _environment(program)
    if environment is None:
        return ()
    found: dict[Condition, None] = {}
    for guard in environment.guards:
        expression = environment.replace(guard.expr)
        # With axioms=() the guard itself is not used to prove the guard; only ranges are.
        if environment._maybe_evaluate_static(expression, axioms=()) is not sympy.true:
            found[size_expression(expression, program)] = None
    return tuple(found)


def _environment(program: Program) -> Any:
    for node in program.placeholders:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            return value.fake_mode.shape_env
    return None


def _input_sizes(program: Program) -> set[str]:
    """Symbols that are a whole dimension of an input: those whose value a call shows directly."""
    values = [node.meta.get("val") for node in program.placeholders]
    return {str(size) for value in values if isinstance(value, torch.Tensor) for size in value.shape}


def size_expression(expression: Any, program: Program) -> Condition:
    """A sympy expression over sizes as data. Raises CaptureError where it is no integer arithmetic on input sizes."""
    if expression.is_Integer:
        return int(expression)
    if expression.is_Symbol and str(expression) in _input_sizes(program):
        return str(expression)
    for types, name in _OPERATORS:
        if isinstance(expression, types):
            return (name, *(size_expression(argument, program) for argument in expression.args))
    raise CaptureError(
        f"capture: tracing assumed {expression}, which is not integer arithmetic on input sizes; "
        "make the sizes in it static, or move that decision out of forward()"
    )
