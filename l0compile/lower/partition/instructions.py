"""Program -> Code, the form of a graph that the PyTorch engine of the runtime reads."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch._library.custom_ops import OPDEFS
from torch._ops import OpOverload

from l0compile.errors import BuildError
from l0compile.ir.control_flow import ControlFlow
from l0compile.ir.instructions import (
    OPERATORS,
    ROUNDINGS,
    SIZE_FUNCTIONS,
    Code,
    Instruction,
    Named,
    Slot,
    slots_of,
)
from l0compile.ir.program import Program


def instructions(program: Program) -> Code:
    """Turn ``program`` into code; inputs are its placeholders in order, results its outputs.

    Raises:
        BuildError: Code cannot name some operator, or an argument has no JSON form.
    """
    slots: dict[fx.Node, Slot] = {node: Slot(i) for i, node in enumerate(program.placeholders)}
    inputs = len(slots)
    names: dict[str, Slot] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            slots[node] = names.setdefault(str(node.target), Slot(inputs + len(names)))
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    for number, node in enumerate(calls):
        slots[node] = Slot(inputs + len(names) + number)
    results: Any = _argument(
        [r for r in program.output.args[0] if isinstance(r, fx.Node)], slots, program.output
    )
    listed: list[Instruction] = []
    homes = {_target(node): home for node in calls if (home := _home(node)) is not None}
    needed = set(slots_of(results))
    for node in reversed(calls):
        args = (*_bodies(node), *_argument(node.args, slots, node))
        kwargs = {name: _argument(value, slots, node) for name, value in node.kwargs.items()}
        read = {
            number
            for number in (*slots_of(args), *slots_of(kwargs))
            if not _is_constant(number, inputs, names)
        }
        frees = tuple(sorted(read - needed))
        needed |= read
        listed.append(Instruction(_target(node), args, kwargs, slots[node].number, frees))
    return Code(inputs, tuple(names), tuple(reversed(listed)), results, homes)


def _is_constant(number: int, inputs: int, names: Mapping[str, Slot]) -> bool:
    return inputs <= number < inputs + len(names)


def _target(node: fx.Node) -> str:
    target: Any = node.target
    if isinstance(target, OpOverload):
        return str(target)
    if isinstance(target, ControlFlow):
        return f"flow.{target.kind}"
    name = getattr(target, "__name__", "")
    if getattr(target, "__module__", "") == "_operator" and name in OPERATORS:
        return f"_operator.{name}"
    if name in SIZE_FUNCTIONS and getattr(torch, name, None) is target:
        return f"torch.{name}"
    if name in ROUNDINGS and getattr(math, name) is target:
        return f"math.{name}"
    raise BuildError(
        f"{node.name}: expected a registered operator, or arithmetic on sizes, got {target}; "
        "replace it in the model, or compile the part of the model without it",
    )


def _bodies(node: fx.Node) -> tuple[Any, ...]:
    """Return the leading arguments of control flow: the code of its graphs, and the numbers of their operands."""
    flow = node.target
    return (*map(instructions, flow.bodies), *flow.counts) if isinstance(flow, ControlFlow) else ()


def _home(node: fx.Node) -> str | None:
    """Return the module that registers a custom operator; None for operators of PyTorch and of l0compile."""
    target = node.target
    definition = OPDEFS.get(target.name().split(".")[0]) if isinstance(target, OpOverload) else None
    return None if definition is None or target.namespace == "l0compile" else definition._init_fn.__module__


def _argument(value: Any, slots: Mapping[fx.Node, Slot], node: fx.Node) -> Any:
    if isinstance(value, fx.Node):
        return slots[value]
    if isinstance(value, list | tuple):
        return tuple(_argument(item, slots, node) for item in value)
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return Named(type(value).__name__, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return Named("device", str(value))
    if value is None or isinstance(value, bool | int | float | complex | str):
        return value
    raise BuildError(
        f"{node.name}: {node.target}: an argument of type {type(value).__name__} cannot be stored"
    )
