"""The assumptions of tracing about sizes (torch's guards), as conditions that every call checks."""

from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from torch.utils._sympy import functions as torch_sympy

from l0compile.errors import CaptureError
from l0compile.ir.conditions import Condition
from l0compile.ir.integral_sizes import ROUNDINGS, integral, uncertain
from l0compile.ir.nodes import expression
from l0compile.ir.program import Program

_OPERATORS: tuple[tuple[tuple[Any, ...], str], ...] = (
    ((sympy.Add,), "+"),
    ((sympy.Mul,), "*"),
    ((sympy.Pow,), "**"),
    ((torch_sympy.IntTrueDiv, torch_sympy.FloatTrueDiv), "/"),
    ((torch_sympy.ToFloat,), "float"),
    ((torch_sympy.TruncToInt,), "trunc"),
    ((torch_sympy.FloorToInt,), "floor"),
    ((torch_sympy.CeilToInt,), "ceil"),
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
    """Find the conditions on sizes under which the graph is right.

    For example, ``x if x.shape[0] < x.shape[1] else -x`` is traced along one branch, so the graph is right only for
    sizes where the comparison has the same result. Sizes from floating-point arithmetic are read as integer
    arithmetic; where rounding might make a difference, it is a condition that both agree.

    Returns:
        The guards that do not follow from the ranges of the size symbols, without duplicates.

    Raises:
        CaptureError: A guard is not arithmetic on input sizes.
    """
    environment = _environment(program)
    if environment is None:
        return ()
    found: dict[Condition, None] = {}
    for rounding in _uncertain(program):
        found["==", size_expression(rounding, program, as_it_is=True), size_expression(rounding, program)] = (
            None
        )
    for guard in environment.guards:
        assumed = environment.replace(guard.expr)
        # With axioms=() torch proves the guard from ranges alone, and not from the guard itself.
        if environment._maybe_evaluate_static(assumed, axioms=()) is not sympy.true:
            found[size_expression(assumed, program)] = None
    found.pop(True, None)  # conditions that integer arithmetic proves
    return tuple(found)


def pins_a_rounded_size(exported: ExportedProgram) -> bool:
    """Return whether tracing fixed a size that the model rounds, as in ``int(0.5 * n) == 4``."""
    values = [node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"]
    modes = [value.fake_mode for value in values if isinstance(value, FakeTensor)]
    environment = modes[0].shape_env if modes else None
    guards = [guard.expr for guard in environment.guards] if environment is not None else []
    return any(isinstance(e, sympy.Eq) and e.atoms(*ROUNDINGS) and e.rhs.is_number for e in guards)


def _uncertain(program: Program) -> list[Any]:
    """List the roundings in sizes of the graph whose integer form every call has to check."""
    found: dict[Any, None] = {}
    for node in program.graph.nodes:
        for leaf in pytree.tree_leaves(node.meta.get("val")):
            sizes = leaf.shape if isinstance(leaf, torch.Tensor) else [leaf]
            for size in sizes:
                if isinstance(size, torch.SymInt):
                    found |= dict.fromkeys(uncertain(size.node.expr))
    return list(found)


def _environment(program: Program) -> Any:
    for node in program.placeholders:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            return value.fake_mode.shape_env
    return None


def _input_sizes(program: Program) -> set[str]:
    """Find the symbols whose values follow from the shapes of a call: a dimension is a multiple of the symbol."""
    values = [node.meta.get("val") for node in program.placeholders]
    sizes = [expression(size) for value in values if isinstance(value, torch.Tensor) for size in value.shape]
    symbols = [sorted(getattr(size, "free_symbols", ()), key=str) for size in sizes]
    linear = [
        found[0] for size, found in zip(sizes, symbols, strict=True)
        if len(found) == 1 and size.diff(found[0]).is_Integer
    ]  # fmt: skip
    return {str(symbol) for symbol in linear}


def size_expression(size: Any, program: Program, as_it_is: bool = False) -> Condition:
    """Turn a sympy expression over sizes into a condition.

    Args:
        size: The expression.
        program: The program whose inputs have these sizes.
        as_it_is: Keep floating-point arithmetic, instead of using integers where possible.

    Raises:
        CaptureError: The expression is not arithmetic on input sizes.
    """
    return _as_data(size if as_it_is else integral(size), program)


def _as_data(size: Any, program: Program) -> Condition:
    if size in (sympy.true, sympy.false):
        return bool(size)
    if size.is_Integer:
        return int(size)
    if size.is_Float:
        return float(size)
    if size.is_Symbol and str(size) in _input_sizes(program):
        return str(size)
    for types, name in _OPERATORS:
        if isinstance(size, types):
            return (name, *(_as_data(argument, program) for argument in size.args))
    raise CaptureError(
        f"capture: tracing assumed {size}, which is not arithmetic on input sizes; "
        "make the sizes in it static, or move that decision out of forward()"
    )
