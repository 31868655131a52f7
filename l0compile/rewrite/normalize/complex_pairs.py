"""Replace complex arithmetic by arithmetic on pairs of reals."""

from collections.abc import Container
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_op, shape
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.complex_arithmetic import (
    REAL,
    RULES,
    ComplexParts,
    Writer,
    is_complex,
)
from l0compile.rewrite.normalize.complex_sources import source_rule

aten = torch.ops.aten


def complex_to_pairs(program: Program) -> Program:
    """Replace each complex tensor by two real ones, its real parts and its imaginary parts.

    Rewrite: view_as_complex(x) -> (x[..., 0], x[..., 1]); (a, b)(c, d) -> (ac - bd, ad + bc); conj -> (a, -b);
        polar(r, t) -> (r cos t, r sin t); views, joins, selections and sums -> the same on either part;
        view_as_real -> stack([a, b], -1), real -> a, imag -> b; a view with the sign changed -> neg. A complex input is
        taken apart at its readers, and a complex result is put together before the output.
    Checks: operators that depend on one another through complex values are rewritten together, and only if there is a
        rule for each of them. A Fourier transform therefore runs in PyTorch with the products around it.
        Half-precision complex types stay, because PyTorch computes them in a wider type.
    Returns: the program, itself when nothing in it is complex, or nothing can be rewritten.
    """
    editor = Editor(program)
    regions = _Regions(editor.graph)
    pairs: dict[fx.Node, ComplexParts] = {}
    joined: set[Any] = set()
    for node in list(editor.graph.nodes):
        if node.op == "output":
            _put_together(editor, node, pairs)
        elif regions.rewritten(node):
            result = _rewrite(editor, node, pairs)
            joined |= {result} if is_op(result, aten.stack.default) else set()
        elif is_op(node, aten.select.int) and node.args[0] in joined:
            _read_part(editor, node)
        elif is_op(node, aten._neg_view.default) and not is_complex(node):
            editor.replace(node, editor.call(aten.neg.default, node.args, before=node))
    return editor.finish()


class _Regions:
    """The groups of operators that depend on one another through complex values, and which of them have rules.

    Inputs, and operators that make complex values of real ones, belong to no group: each reader takes them apart.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._parent: dict[fx.Node, fx.Node] = {}
        reading = [node for node in graph.nodes if node.op == "call_function" and _touches(node)]
        for node in reading:
            self._parent[node] = node
        for node in reading:
            for source in filter(self._parent.__contains__, node.all_input_nodes):
                if is_complex(source):
                    self._parent[self._group(source)] = self._group(node)
        self._kept = {self._group(node) for node in reading if not _writable(node, self._parent)}

    def rewritten(self, node: fx.Node) -> bool:
        return node in self._parent and self._group(node) not in self._kept

    def _group(self, node: fx.Node) -> fx.Node:
        while self._parent[node] is not node:
            node = self._parent[node]
        return node


def _touches(node: fx.Node) -> bool:
    """Whether ``node`` reads complex values, or makes them in a way that no source rule covers."""
    return any(map(is_complex, node.all_input_nodes)) or (is_complex(node) and not _is_source(node))


def _is_source(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor) and source_rule(node) is not None


def _writable(node: fx.Node, members: Container[fx.Node]) -> bool:
    rule = RULES.get(node.target)
    sources = [source for source in node.all_input_nodes if is_complex(source)]
    known = all(source in members or _is_source(source) for source in sources)
    types = {
        getattr(leaf, "dtype", None)
        for value in (node, *sources)
        for leaf in pytree.tree_leaves(value.meta.get("val"))
    }
    complex_types = {kind for kind in types if isinstance(kind, torch.dtype) and kind.is_complex}
    return (
        rule is not None and bool(sources) and known and complex_types <= REAL.keys() and rule.accepts(node)
    )


def _rewrite(editor: Editor, node: fx.Node, pairs: dict[fx.Node, ComplexParts]) -> ComplexParts | fx.Node:
    def pair(operand: fx.Node) -> ComplexParts:
        if operand not in pairs:
            rule = source_rule(operand)
            assert rule is not None  # without one the group would have stayed
            made = rule.write(Writer(editor, operand, node, pair), operand)
            assert isinstance(made, ComplexParts)
            pairs[operand] = made
        return pairs[operand]

    result = RULES[node.target].write(Writer(editor, node, node, pair), node)
    if isinstance(result, ComplexParts):
        pairs[node] = result
        editor.changed += 1
    else:
        editor.replace(node, result)
    return result


def _read_part(editor: Editor, node: fx.Node) -> None:
    """stack([a, b], -1)[..., i] -> a or b; ``real`` and ``imag`` are exported like this."""
    stack: Any = node.args[0]
    if node.args[1] in (-1, len(shape(node))):
        editor.replace(node, stack.args[0][node.args[2]])


def _put_together(editor: Editor, output: fx.Node, pairs: dict[fx.Node, ComplexParts]) -> None:
    whole: dict[fx.Node, fx.Node] = {}
    results: Any = output.args[0]
    for result in dict.fromkeys(results):
        if isinstance(result, fx.Node) and result in pairs and not _is_source(result):
            parts = pairs[result]
            whole[result] = editor.call(
                aten.complex.default, (parts.real, parts.imag), before=output, origin=result
            )
            whole[result].meta["val"] = result.meta["val"]
    output.args = (tuple(whole.get(result, result) for result in results),)
