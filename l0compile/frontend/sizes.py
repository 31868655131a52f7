"""The range of each size symbol, as torch inferred it, and widened to size 1 where the model allows it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from l0compile.frontend.dynamic_shapes import ArgumentPath, DynamicSpec, ExampleCall, key_of, resize
from l0compile.frontend.fast_path import without_fast_path
from l0compile.ir.conditions import Condition, holds, symbols
from l0compile.ir.program import Program
from l0compile.ir.state import unchanged

_MOST_TRIED = 4
_LARGEST_TRIED = 1024


def symbol_ranges(program: Program, constraints: Mapping[Any, Any]) -> dict[str, tuple[int, int | None]]:
    """Return the range of each symbol in the input shapes: name -> (min, max), where max may be None."""
    ranges: dict[str, tuple[int, int | None]] = {}
    for node in program.placeholders:
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, torch.Tensor) else ():
            if isinstance(size, torch.SymInt):
                for symbol in size.node.expr.free_symbols:
                    ranges[str(symbol)] = _range(constraints.get(symbol))
    return ranges


def _range(constraint: Any) -> tuple[int, int | None]:
    if constraint is None:
        return 1, None
    largest = constraint.upper
    bounded = largest.is_Integer and int(largest) < 2**60
    return max(int(constraint.lower), 1), int(largest) if bounded else None


def label_symbols(program: Program, example: ExampleCall, spec: DynamicSpec) -> dict[str, str]:
    """Find the user's names of symbols: symbol name -> name in ``spec``."""
    shapes = _shapes(program, example)
    labels: dict[str, str] = {}
    for (path, dim), name in spec.dims.items():
        size = shapes[path][dim]
        if name is not None and isinstance(size, torch.SymInt):
            labels.setdefault(str(size), name)
    return labels


def accept_size_one(program: Program, model: nn.Module, example: ExampleCall, spec: DynamicSpec) -> Program:
    """Lower the minimum of a symbol from torch's 2 to 1 if model and program agree at size 1.

    Tracing takes a symbolic size to be no 1, and so ignores a branch or ``squeeze`` that treats 1 differently. One run
    of the model per symbol decides. A symbol that fails keeps its minimum of 2, and calls with size 1 are refused.

    Args:
        program: The program.
        model: The model it was made from.
        example: Example arguments.
        spec: The dimensions that may vary.

    Returns:
        The program with new ranges.
    """
    ranges = dict(program.symbols)
    shapes = _shapes(program, example)
    for symbol, (low, high) in program.symbols.items():
        if low != 2:
            continue
        ones = {(path, dim): 1 for path, dim in spec.dims if str(shapes[path][dim]) == symbol}
        if ones and _agrees(program, model, resize(example, ones)):
            ranges[symbol] = (1, high)
    return replace(program, symbols=ranges)


def drop_needless_conditions(
    program: Program, model: nn.Module, example: ExampleCall, spec: DynamicSpec
) -> Program:
    """Drop conditions that torch makes only because it treats sizes 0 and 1 differently.

    Tracing assumes that a derived size, such as half a length, is not 1. If only few sizes of one symbol break such a
    condition, the model runs at each of them, and the condition is dropped if the program gives the same results.

    Args:
        program: The program.
        model: The model it was made from.
        example: Example arguments.
        spec: The dimensions that may vary.

    Returns:
        The program with fewer conditions.
    """
    shapes = _shapes(program, example)
    kept = []
    for condition in program.conditions:
        symbol, sizes = _exceptions(condition, program)
        where = [(path, dim) for path, dim in spec.dims if str(shapes[path][dim]) == symbol]
        calls = [resize(example, dict.fromkeys(where, size)) for size in sizes]
        if not where or not calls or not all(_agrees(program, model, call) for call in calls):
            kept.append(condition)
    return replace(program, conditions=tuple(kept))


def _exceptions(condition: Condition, program: Program) -> tuple[str, list[int]]:
    """Return a symbol and its sizes that break ``condition``; no sizes if several symbols or too many sizes matter."""
    found = symbols(condition)
    if len(found) != 1:
        return "", []
    (symbol,) = found
    low, high = program.symbols[symbol]
    sizes = range(low, min(high or _LARGEST_TRIED, _LARGEST_TRIED) + 1)
    broken = [size for size in sizes if not holds(condition, {symbol: size})]
    few = len(broken) <= _MOST_TRIED and all(size <= _LARGEST_TRIED // 4 for size in broken)
    return symbol, broken if few else []


def _agrees(program: Program, model: nn.Module, inputs: ExampleCall) -> bool:
    try:
        names = [state.name for state in program.state]
        with torch.no_grad(), without_fast_path(), unchanged(model, names):
            results = pytree.tree_leaves(model(*inputs.args, **inputs.kwargs))
            expected = [result.clone() for result in results if isinstance(result, torch.Tensor)]
            expected += [model.get_buffer(state.name).clone() for state in program.state]
            actual = _Checked(program.module()).run(*program.flatten(inputs.args, inputs.kwargs))
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    return all(_same(left, right) for left, right in zip(expected, actual, strict=True))


class _Checked(fx.Interpreter):
    """Runs a graph, and raises ValueError if a shape is not the one inferred for symbolic sizes."""

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and check the shape of its result."""
        result = super().run_node(n)
        inferred = n.meta.get("val")
        if isinstance(inferred, torch.Tensor) and n.op != "output":
            static = [size if isinstance(size, int) else None for size in inferred.shape]
            if len(static) != result.ndim or any(
                a not in (None, b) for a, b in zip(static, result.shape, strict=True)
            ):
                raise ValueError(
                    f"{n.name}: expected the inferred shape {tuple(inferred.shape)}, got {tuple(result.shape)}"
                )
        return result


def _same(left: Any, right: Any) -> bool:
    if not isinstance(left, torch.Tensor):
        return bool(left == right)
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return torch.allclose(left, right, rtol=1e-4, atol=1e-5, equal_nan=True)


def _shapes(program: Program, example: ExampleCall) -> dict[ArgumentPath, Any]:
    """Return the shape of each tensor argument in the program, by its path."""
    nodes = iter(program.inputs)
    named = pytree.tree_map_only(torch.Tensor, lambda _: next(nodes), (example.args, example.kwargs))
    shapes: dict[ArgumentPath, Any] = {}
    for keys, node in pytree.tree_leaves_with_path(ExampleCall(example.signature, *named).arguments):
        if isinstance(node, fx.Node):
            shapes[tuple(key_of(key) for key in keys)] = node.meta["val"].shape
    return shapes
