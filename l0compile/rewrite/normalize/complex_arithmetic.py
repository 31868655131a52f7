"""Operators on complex numbers, each as operators on pairs of reals."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_op, operand_of, same_shape, shape, tensor
from l0compile.ir.operator_facts import facts_of, operators

aten = torch.ops.aten

REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}
"""The complex types that become pairs, and the type of a part. Half-precision ones are computed wider by PyTorch."""


@dataclass(frozen=True)
class ComplexParts:
    """The parts of a complex value: tensors of its shape and of the real type that belongs to its own."""

    real: fx.Node
    imag: fx.Node


@dataclass(frozen=True)
class Writer:
    """Writes what ``node`` is made of, before ``before``. ``pair``: the parts of an operand."""

    editor: Editor
    node: fx.Node
    before: fx.Node
    pair: Callable[[fx.Node], ComplexParts]

    def call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        return self.editor.call(target, args, before=self.before, origin=self.node, kwargs=kwargs)

    def parts(self, operand: Any) -> tuple[Any, Any]:
        """(real, imaginary) of an operand in the type of the result's parts; None for an imaginary part of zero."""
        if isinstance(operand, complex):
            return operand.real, operand.imag
        if not isinstance(operand, fx.Node):
            return operand, None
        kind, wanted = operand.meta["val"].dtype, REAL[self.node.meta["val"].dtype]
        if kind not in REAL:
            return (operand if kind == wanted else self.cast(operand, wanted)), None
        pair = self.pair(operand)
        if REAL[kind] == wanted:
            return pair.real, pair.imag
        return self.cast(pair.real, wanted), self.cast(pair.imag, wanted)

    def cast(self, node: fx.Node, dtype: torch.dtype) -> fx.Node:
        return self.call(aten._to_copy.default, node, dtype=dtype)


@dataclass(frozen=True)
class ComplexRule:
    """``write``: the parts of the result, or the result where that is real. ``accepts``: whether it can be written."""

    write: Callable[[Writer, fx.Node], ComplexParts | fx.Node]
    accepts: Callable[[fx.Node], bool] = lambda node: True


def is_complex(node: Any) -> bool:
    """Whether a node stands for a complex tensor, or for several tensors with a complex one among them."""
    leaves = pytree.tree_leaves(node.meta.get("val")) if isinstance(node, fx.Node) else []
    return any(isinstance(leaf, torch.Tensor) and leaf.dtype.is_complex for leaf in leaves)


def _partwise(out: Writer, node: fx.Node) -> ComplexParts:
    """The same operator on either part."""

    def of(part: int) -> fx.Node:
        def operand(source: fx.Node) -> fx.Node:
            if not is_complex(source):
                return source
            pair = out.pair(source)
            return pair.imag if part else pair.real

        kwargs = {name: _part_type(value) for name, value in node.kwargs.items()}
        # The parts of a value may lie in memory where no view of that shape fits.
        target = aten.reshape.default if facts_of(node).strides == "fit" else node.target
        return out.call(target, *fx.map_arg(node.args, operand), **fx.map_arg(kwargs, operand))

    return ComplexParts(of(0), of(1))


def _part_type(value: Any) -> Any:
    return REAL.get(value, value) if isinstance(value, torch.dtype) else value


def _alike(node: fx.Node) -> bool:
    """Complex operands of one type, a complex result, and no real data among complex ones."""
    kinds = {leaf.dtype for source in node.all_input_nodes if is_complex(source) for leaf in _leaves(source)}
    data: Any = (
        node.args[0] if node.target in _JOINS else node.args[1:] if is_op(node, aten.where.self) else ()
    )
    return len(kinds) == 1 and is_complex(node) and all(map(is_complex, data)) and _real_numbers(node)


def _real_numbers(node: fx.Node) -> bool:
    return not any(isinstance(value, complex) for value in pytree.tree_leaves((node.args, node.kwargs)))


def _leaves(node: fx.Node) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(node.meta["val"]) if isinstance(leaf, torch.Tensor)]


def _conjugate(out: Writer, node: fx.Node) -> ComplexParts:
    pair = out.pair(operand_of(node))
    return ComplexParts(pair.real, out.call(aten.neg.default, pair.imag))


def multiply(out: Writer, node: fx.Node) -> ComplexParts:
    """(a + ib)(c + id), each operand being complex, real or a number."""
    (a, b), (c, d) = (out.parts(operand) for operand in node.args[:2])
    if b is None:
        (a, b), (c, d) = (c, d), (a, b)

    def product(left: Any, right: Any) -> fx.Node:
        left, right = (left, right) if isinstance(left, fx.Node) else (right, left)
        return out.call(aten.mul.Tensor, left, right)

    if d is None and isinstance(b, fx.Node):
        return ComplexParts(product(a, c), product(b, c))
    if d is None:  # a complex number times a real tensor
        return ComplexParts(product(c, a), product(c, b))
    real = out.call(aten.sub.Tensor, product(a, c), product(b, d))
    return ComplexParts(real, out.call(aten.add.Tensor, product(a, d), product(b, c)))


def _divide(out: Writer, node: fx.Node) -> ComplexParts:
    pair, (divisor, _) = out.parts(node.args[0]), out.parts(node.args[1])
    return ComplexParts(*(out.call(aten.div.Tensor, part, divisor) for part in pair))


def _divisor_is_real(node: fx.Node) -> bool:
    return is_complex(node.args[0]) and not is_complex(node.args[1]) and _real_numbers(node)


def _sum(out: Writer, node: fx.Node) -> ComplexParts:
    (a, b), (c, d) = (out.parts(operand) for operand in node.args[:2])

    def total(left: Any, right: Any) -> fx.Node:
        if right is None:
            return _widened(out, node, left, node.args[1])
        if left is None:
            right = out.call(aten.neg.default, right) if is_op(node, aten.sub.Tensor) else right
            return _widened(out, node, right, node.args[0])
        return out.call(node.target, left, right)

    return ComplexParts(total(a, c), total(b, d))


def _widened(out: Writer, node: fx.Node, part: fx.Node, real: Any) -> fx.Node:
    """The part that the other summand does not have, as large as the result."""
    other = next(arg for arg in node.args[:2] if arg is not real)
    if not isinstance(real, fx.Node) or same_shape(shape(node), shape(other)):
        return part
    return out.call(aten.add.Tensor, part, out.call(aten.zeros_like.default, out.parts(real)[0]))


def _plain_sum(node: fx.Node) -> bool:
    """Of tensors, or of a tensor and a real number, without a factor."""
    both = all(isinstance(arg, fx.Node | int | float) for arg in node.args[:2])
    return both and isinstance(node.args[0], fx.Node) and node.kwargs.get("alpha", 1) == 1


def _exponential(out: Writer, node: fx.Node) -> ComplexParts:
    pair = out.pair(operand_of(node))
    size = out.call(aten.exp.default, pair.real)
    turns = (out.call(function, pair.imag) for function in (aten.cos.default, aten.sin.default))
    return ComplexParts(*(out.call(aten.mul.Tensor, size, turn) for turn in turns))


def _as_real(out: Writer, node: fx.Node) -> fx.Node:
    pair = out.pair(operand_of(node))
    return out.call(aten.stack.default, [pair.real, pair.imag], -1)


def _as_flat_real(out: Writer, node: fx.Node) -> fx.Node:
    return out.call(aten.flatten.using_ints, _as_real(out, node), -2, -1)


def _to_own_part(node: fx.Node) -> bool:
    value = tensor(node)
    return (
        value is not None and REAL.get(operand_of(node).meta["val"].dtype) == value.dtype and value.ndim > 0
    )


def _read_size(out: Writer, node: fx.Node) -> fx.Node:
    return out.call(node.target, out.pair(operand_of(node)).real, node.args[1])


_JOINS = (aten.cat.default, aten.stack.default)
_PARTWISE = (
    *(op for kind in ("reshape", "permute", "part", "repeat", "copy", "pick") for op in operators(moves=kind)),
    *operators(splits=True), *_JOINS, aten.movedim.int, aten.narrow.default, aten.flip.default, aten.roll.default,
    aten.repeat.default, aten.unbind.int, operator.getitem, aten.neg.default, aten.sum.default, aten.sum.dim_IntList,
    aten.mean.default, aten.mean.dim, aten.cumsum.default,
    aten.resolve_conj.default, aten.resolve_neg.default, aten.where.self,
)  # fmt: skip
RULES: dict[Any, ComplexRule] = {
    **dict.fromkeys(_PARTWISE, ComplexRule(_partwise, _alike)),
    **dict.fromkeys(
        (aten._conj.default, aten._conj_physical.default, aten.conj_physical.default), ComplexRule(_conjugate)
    ),
    aten.mul.Tensor: ComplexRule(multiply),
    aten.div.Tensor: ComplexRule(_divide, _divisor_is_real),
    aten.add.Tensor: ComplexRule(_sum, _plain_sum),
    aten.sub.Tensor: ComplexRule(_sum, _plain_sum),
    aten.exp.default: ComplexRule(_exponential),
    aten.view_as_real.default: ComplexRule(_as_real),
    aten.view.dtype: ComplexRule(_as_flat_real, _to_own_part),
    aten.real.default: ComplexRule(lambda out, node: out.pair(operand_of(node)).real),
    aten.imag.default: ComplexRule(lambda out, node: out.pair(operand_of(node)).imag),
    aten.sym_size.int: ComplexRule(_read_size),
}
"""Operators that read complex tensors."""
