"""Graph nodes for symbolic sizes, so that a rewrite can pass a size to an operator."""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import sympy
import torch
from torch import fx
from torch.utils._sympy.functions import CleanDiv, FloorDiv, Max, Min, Mod, PythonMod

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import expression

SizeOperand: TypeAlias = int | fx.Node

# Lowering knows the same ones (lower/tvm/symbols.py); a size that needs another one cannot be compiled.
_OPERATORS: dict[Any, Callable[..., Any]] = {
    sympy.Add: operator.add,
    sympy.Mul: operator.mul,
    FloorDiv: operator.floordiv,
    CleanDiv: operator.floordiv,
    Mod: operator.mod,
    PythonMod: operator.mod,
    Max: torch.sym_max,
    Min: torch.sym_min,
}


class SizeNodes:
    """Find or make the node whose value is a given size; an int stays an int.

    Each symbol is read from the first input that has it as a dimension.
    """

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._known: dict[Any, SizeOperand] = {}
        self._last: fx.Node | None = None

    def of(self, size: int | torch.SymInt) -> SizeOperand:
        """The node for ``size``, or the number that it is.

        Raises:
            RewriteError: no input has one of its symbols as a dimension, or it is no arithmetic on whole numbers.
        """
        return int(size) if isinstance(size, int) else self._expression(expression(size))

    def shape(self, shape: Any) -> list[SizeOperand]:
        return [self.of(size) for size in shape]

    def _expression(self, expression: Any) -> SizeOperand:
        if expression not in self._known:
            self._known[expression] = self._make(expression)
        return self._known[expression]

    def _make(self, expression: Any) -> SizeOperand:
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol:
            return self._input_size(expression)
        if expression.is_Pow and expression.exp.is_Integer and expression.exp > 0:
            function, sizes = operator.mul, [self._expression(expression.base)] * int(expression.exp)
        elif expression.func in _OPERATORS:
            function, sizes = _OPERATORS[expression.func], [self._expression(a) for a in expression.args]
        else:
            raise RewriteError(
                f"size {expression}: expected whole-number arithmetic on input sizes, "
                f"got {expression.func.__name__}; compile the part of the model without it"
            )
        value, *rest = sizes
        for other in rest:
            value = self._call(function, (value, other))
        return value

    def _input_size(self, symbol: Any) -> SizeOperand:
        for node in self._editor.graph.nodes:
            value = node.meta.get("val")
            if node.op != "placeholder" or not isinstance(value, torch.Tensor):
                continue
            for dim, size in enumerate(value.shape):
                if isinstance(size, torch.SymInt) and size.node.expr == symbol:
                    return self._call(torch.ops.aten.sym_size.int, (node, dim))
        raise RewriteError(
            f"size {symbol}: expected a dimension of an input, got a size that no input has; declare that dimension of "
            "the input dynamic"
        )

    def _call(self, function: Any, args: tuple[Any, ...]) -> fx.Node:
        # Behind the inputs and the sizes made earlier, before anything that a pass has inserted since.
        nodes = self._editor.graph.nodes
        front = self._last.next if self._last else next(node for node in nodes if node.op != "placeholder")
        node = self._last = self._editor.call(function, args, before=front)
        values = [a.meta["val"] if isinstance(a, fx.Node) else a for a in args]
        node.meta["val"] = function(*values)
        return node
