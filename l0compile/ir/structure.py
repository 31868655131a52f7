"""The structure of a call and of a result: pytrees whose leaves are tensors, and which contain all other values.

A model may be called with None, flags and numbers besides its tensors, and may return them. They are part of the
structure: a call must repeat them, and a result contains them whatever the tensors are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._pytree import TreeSpec

from l0compile.errors import InputError
from l0compile.ir.conditions import Condition, evaluate

PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Fixed:
    """A value in a structure, where a tensor could be."""

    value: Any

    def __eq__(self, other: object) -> bool:
        # 1, 1.0 and True are equal, but a model may tell them apart.
        return isinstance(other, Fixed) and _same(self.value, other.value)

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True)
class SizeOf:
    """An integer in the structure of a result that follows from the sizes of the inputs."""

    expression: Condition


pytree.register_pytree_node(Fixed, lambda fixed: ([], fixed), lambda _, fixed: fixed.value)
pytree.register_pytree_node(SizeOf, lambda size: ([], size), lambda _, size: size)


def with_values(spec: TreeSpec, values: Mapping[int, Fixed | SizeOf]) -> TreeSpec:
    """``spec`` with some of its leaves, by position, replaced by values, which are no leaves."""
    position = -1

    def convert(node: TreeSpec) -> TreeSpec:
        nonlocal position
        if node.is_leaf():
            position += 1
            value = values.get(position)
            return node if value is None else TreeSpec(type(value), value, [])
        return TreeSpec(node.type, node.context, [convert(child) for child in node.children()])

    return convert(spec) if values else spec


@dataclass(frozen=True)
class Structure:
    """``spec`` taken apart: ``plain`` has a leaf in place of each value, and ``values`` has the values by leaf."""

    spec: TreeSpec

    @cached_property
    def plain(self) -> TreeSpec:
        return _plain(self.spec)

    @cached_property
    def values(self) -> dict[int, Fixed | SizeOf]:
        found: list[Any] = []

        def collect(node: TreeSpec) -> None:
            if node.type in (Fixed, SizeOf):
                found.append(node.context)
            elif node.is_leaf():
                found.append(None)
            else:
                for child in node.children():
                    collect(child)

        collect(self.spec)
        return {position: value for position, value in enumerate(found) if value is not None}

    @cached_property
    def has_sizes(self) -> bool:
        """Whether a value of the tree follows from the sizes of the inputs."""
        return any(isinstance(value, SizeOf) for value in self.values.values())

    @cached_property
    def _flat_call(self) -> tuple[int, tuple[str, ...]] | None:
        """(number of positional tensors, names of keyword tensors) of a call of nothing but tensors, else None."""
        if self.values or self.spec.is_leaf() or self.spec.num_children != 2:
            return None
        positional, keywords = self.spec.children()
        flat = all(child.is_leaf() for part in (positional, keywords) for child in part.children())
        return (positional.num_children, tuple(keywords.context or ())) if flat else None

    @cached_property
    def _flat_result(self) -> type | None:
        """``Tensor`` or ``tuple`` where the tree is one tensor, or a tuple of tensors; else None."""
        if self.spec.is_leaf():
            return Tensor
        flat = self.spec.type is tuple and all(child.is_leaf() for child in self.spec.children())
        return tuple if flat else None

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any] | None:
        """The leaves of a call, if ``spec`` is that of ``(args, kwargs)``; None for another structure.

        Keyword arguments may come in any order.

        Raises:
            InputError: a value is not the one in ``spec``.
        """
        if self._flat_call is not None:
            # Loops, not generators: of a call of a small model this takes a tenth.
            count, names = self._flat_call
            leaves = list(args)
            if len(leaves) == count and len(kwargs) == len(names):
                for name in names:
                    leaves.append(kwargs.get(name))
                for leaf in leaves:
                    if not isinstance(leaf, Tensor):  # which is a leaf of any tree
                        break
                else:
                    return leaves
        return self._flatten(args, kwargs)

    def _flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any] | None:
        order = self.plain.child(1).context or []
        if set(kwargs) == set(order):
            kwargs = {name: kwargs[name] for name in order}
        leaves, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
        if spec != self.plain:
            return None
        if not self.values:
            return leaves
        for position, value in self.values.items():
            if isinstance(value, Fixed) and not _same(value.value, leaves[position]):
                raise InputError(
                    f"{_name(position, args, kwargs)}: expected {value.value!r}, which the model was compiled for, got "
                    f"{_brief(leaves[position])}; compile it again for another value"
                )
        return [leaf for position, leaf in enumerate(leaves) if position not in self.values]

    def unflatten(self, leaves: Sequence[Any], sizes: Mapping[str, int]) -> Any:
        """The tree with these leaves; ``sizes`` gives each size symbol its value."""
        if self._flat_result is not None and len(leaves) == self.spec.num_leaves:
            return leaves[0] if self._flat_result is Tensor else tuple(leaves)
        tree = pytree.tree_unflatten(list(leaves), self.spec)
        if not self.has_sizes:
            return tree
        return pytree.tree_map(
            lambda leaf: int(evaluate(leaf.expression, sizes)) if isinstance(leaf, SizeOf) else leaf,
            tree,
            is_leaf=lambda leaf: isinstance(leaf, SizeOf),
        )


def _plain(node: TreeSpec) -> TreeSpec:
    if node.type in (Fixed, SizeOf):
        return pytree.tree_flatten(0)[1]
    return node if node.is_leaf() else TreeSpec(node.type, node.context, [_plain(c) for c in node.children()])


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _name(position: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    paths, _ = pytree.tree_flatten_with_path((tuple(args), dict(kwargs)))
    keys = paths[position][0]
    return f"argument {pytree.keystr(keys[1:]).lstrip('.')}"


def _brief(value: Any) -> str:
    return repr(value) if isinstance(value, PLAIN) else f"a {type(value).__name__}"
