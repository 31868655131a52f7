"""Check a program after each pass: its form, and its inputs and outputs, which no pass may change."""

from typing import Any

import sympy
import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.errors import RewriteError
from l0compile.ir.conditions import holds, symbols
from l0compile.ir.control_flow import ControlFlow
from l0compile.ir.nodes import example_size, expression
from l0compile.ir.program import Program

_PRIMES = (7, 11, 13, 17, 19, 23)


def verify(program: Program, after: str, shapes: bool = True) -> None:
    """Check the form of a program.

    Args:
        program: the result of a pass.
        after: the pass, for the message.
        shapes: check also that shapes were inferred.

    Raises:
        RewriteError: the graph is malformed; the message names the pass and the node.
    """
    try:
        program.graph.lint()
    except RuntimeError as error:
        raise RewriteError(f"{after}: left a malformed graph: {error}") from error
    nodes = list(program.graph.nodes)
    if not nodes or nodes[-1].op != "output" or not isinstance(nodes[-1].args[0], tuple):
        raise RewriteError(f"{after}: expected one output node with a flat tuple, last")
    for node in nodes:
        problem = _problem(node, program, shapes)
        if problem:
            raise RewriteError(f"{after}: {node.name}: {problem}")


def _problem(node: fx.Node, program: Program, shapes: bool) -> str | None:
    if node.op not in ("placeholder", "get_attr", "call_function", "output"):
        return f"expected a placeholder, get_attr, call_function or output, got {node.op}"
    if node.op == "get_attr" and str(node.target) not in program.constants:
        return f"expected a key of constants, got {node.target!r}"
    if node.op == "call_function" and not _known(node.target):
        return f"expected an ATen or l0compile operator, got {node.target}"
    if shapes and node.op != "output" and "val" not in node.meta:
        return "expected meta['val'], got none; shapes were not inferred"
    return None


def _known(target: Any) -> bool:
    if isinstance(target, ControlFlow):
        return True
    if isinstance(target, OpOverload):
        return not target._schema.is_mutable
    return getattr(target, "__module__", "").startswith(("_operator", "operator", "math", "torch"))


def verify_interface(before: Program, program: Program, after: str) -> None:
    """Check that inputs and outputs keep their number, order, shapes and dtypes.

    Raises:
        RewriteError: ``program``, made from ``before`` by the pass ``after``, has others.
    """
    old, new = [node.name for node in before.placeholders], [node.name for node in program.placeholders]
    if old != new:
        raise RewriteError(f"{after}: expected inputs {old}, got {new}")
    results: Any = before.output.args[0]
    current: Any = program.output.args[0]
    for position, (left, right) in enumerate(zip(results, current, strict=True)):
        expected, got = _signature(left), _signature(right)
        if expected != got and _at_other_sizes(expected, before) != _at_other_sizes(got, before):
            raise RewriteError(f"{after}: output {position}: expected {expected}, got {got}")


def _signature(result: Any) -> Any:
    value = result.meta.get("val") if isinstance(result, fx.Node) else result
    if isinstance(value, torch.Tensor):
        return tuple(expression(size) for size in value.shape), value.dtype
    return str(value)


def _at_other_sizes(signature: Any, program: Program) -> Any:
    """A signature with numbers for its sizes.

    Two forms of one size, ``4 * (h // 4)`` and ``h``, may be equal only where the conditions of the program hold. Each
    symbol becomes its example size times another prime. Where the conditions exclude those sizes, the signature stays.
    """
    primes = iter(_PRIMES)
    sizes: dict[Any, Any] = {}
    for node in program.placeholders:
        for size in node.meta["val"].shape:
            symbol = expression(size)
            if getattr(symbol, "is_Symbol", False) and symbol not in sizes:
                sizes[symbol] = sympy.Integer(example_size(size) * next(primes, 1))
    named = {str(symbol): int(size) for symbol, size in sizes.items()}
    covered = set().union(*map(symbols, program.conditions)) <= named.keys()
    if not covered or isinstance(signature, str) or not all(holds(c, named) for c in program.conditions):
        return signature
    shape, dtype = signature
    return tuple(size if isinstance(size, int) else size.xreplace(sizes).doit() for size in shape), dtype
