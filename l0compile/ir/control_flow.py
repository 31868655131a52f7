"""Control flow that depends on values, as a node of a program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from l0compile.ir.ops.control_flow import CONTROL_FLOW
from l0compile.ir.program import Program


@dataclass(frozen=True, eq=False)
class ControlFlow:
    """The target of a node: control flow over ``bodies``, called with the node's arguments.

    Attributes:
        kind: a name of ``CONTROL_FLOW``.
        bodies: programs without constants, from flat arguments to a flat tuple.
        counts: the numbers of carried and mapped arguments, as far as ``kind`` needs them.
    """

    kind: str
    bodies: tuple[Program, ...]
    counts: tuple[int, ...] = ()

    def __call__(self, *operands: Any) -> tuple[Any, ...]:
        return CONTROL_FLOW[self.kind](*self._modules, *self.counts, *operands)

    @property
    def __name__(self) -> str:
        return self.kind

    def __str__(self) -> str:
        return f"higher_order.{self.kind}"

    @cached_property
    def _modules(self) -> tuple[Callable[..., Sequence[Any]], ...]:
        return tuple(body.module() for body in self.bodies)


def read_control_flow(
    node: fx.Node, read_body: Callable[[fx.Node], Program]
) -> tuple[ControlFlow, tuple[Any, ...]] | None:
    """Read control flow from an exported graph.

    Args:
        node: a node of the exported graph.
        read_body: gives the program of the graph that a node of the exported graph names.

    Returns:
        (what the node does, its operands as nodes of the exported graph); None for unknown control flow.
    """
    args: Any = node.args
    match getattr(node.target, "_name", ""):
        case "cond":
            condition, true, false, operands = args
            return ControlFlow("cond", (read_body(true), read_body(false))), (condition, *operands)
        case "while_loop":
            condition, body, carried, rest = args
            flow = ControlFlow("while_loop", (read_body(condition), read_body(body)), (len(carried),))
            return flow, (*carried, *rest)
        case "map_impl":
            body, xs, rest = args
            return ControlFlow("map", (read_body(body),), (len(xs),)), (*xs, *rest)
        case "scan":
            body, carried, xs, rest = args
            counts = (len(carried), len(xs))
            return ControlFlow("scan", (read_body(body),), counts), (*carried, *xs, *rest)
    return None


def is_control_flow(node: fx.Node) -> bool:
    """Whether an exported node is an operator that takes graphs."""
    return node.op == "call_function" and isinstance(node.target, torch._ops.HigherOrderOperator)


def flat_spec(count: int, call: bool = False) -> pytree.TreeSpec:
    """The structure of ``count`` leaves in a tuple, or of a call with them."""
    leaves = (0,) * count
    return pytree.tree_structure((leaves, {}) if call else leaves)
