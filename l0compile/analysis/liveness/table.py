"""The table of transfer functions, one for each operator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from l0compile.analysis.liveness.lattice import Fact, constant, unknown
from l0compile.errors import RewriteError
from l0compile.ir.nodes import shape, tensor
from l0compile.ir.program import Program


@dataclass(frozen=True)
class View:
    """The program and the facts so far, as transfer functions read them."""

    program: Program
    facts: Mapping[fx.Node, Fact]

    def fact(self, operand: Any) -> Fact:
        """The fact of a tensor operand, or of a Python number (rank 0)."""
        if isinstance(operand, fx.Node):
            found = self.facts.get(operand)
            value = tensor(operand)
            return found if found is not None else unknown(value.ndim if value is not None else 0)
        if isinstance(operand, (bool, int, float)):
            # In double precision, as the operator itself would take it: float32 would round in float64 models.
            return constant(torch.tensor(operand, dtype=torch.float64 if type(operand) is float else None))
        return unknown(0)

    def constant(self, operand: Any) -> Tensor | None:
        """The tensor behind a constant operand."""
        return self.program.constant(operand)


Forward = Callable[[fx.Node, View], Fact | None]
Backward = Callable[[fx.Node, Tensor, View], Mapping[fx.Node, Tensor]]


@dataclass(frozen=True)
class Transfer:
    """How knowledge passes one operator.

    Attributes:
        forward: (node, view) -> fact of the result, or None for "nothing is known".
        backward: (node, live mask of the result, view) -> live mask per operand node. An operand left out is wholly
            live. A mask may have size 1 on any axis.
    """

    forward: Forward
    backward: Backward


_TABLE: dict[OpOverload, Transfer] = {}


def register(*targets: OpOverload, forward: Forward, backward: Backward) -> None:
    """Add an operator.

    Raises:
        RewriteError: it already has an entry.
    """
    for target in targets:
        if target in _TABLE:
            raise RewriteError(f"liveness: {target} already has a transfer function; define it in one place")
        _TABLE[target] = Transfer(forward, backward)


def lookup(node: fx.Node) -> Transfer | None:
    """The entry of a node's operator, or None: then nothing is known and everything is live."""
    return _TABLE.get(node.target) if isinstance(node.target, OpOverload) else None


def supported() -> tuple[str, ...]:
    """Names of the operators in the table."""
    return tuple(sorted(str(target) for target in _TABLE))


def everything(node: fx.Node) -> Tensor:
    """The mask "all live" for a tensor node."""
    return torch.ones([1] * len(shape(node)), dtype=torch.bool)
