"""Operators of an exported graph that capture drops, and those that it refuses."""

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.errors import CaptureError
from l0compile.ir.nodes import arguments

_CHECKS = (
    "aten::_assert_tensor_metadata",
    "aten::_assert_async",
    "aten::_assert_scalar",
    "aten::sym_constrain_range",
)


def is_check(node: fx.Node) -> bool:
    """Return whether a node is a check that tracing inserted."""
    if node.op == "call_function" and isinstance(node.target, OpOverload):
        return node.target._schema.name.startswith(_CHECKS)
    return False


def refuse_random(node: fx.Node) -> None:
    """Raise CaptureError for an operator that draws random numbers."""
    if not isinstance(node.target, OpOverload) or torch.Tag.nondeterministic_seeded not in node.target.tags:
        return
    given = arguments(node)
    # Dropout that is off and attention without dropout draw no numbers.
    if given.get("train") is False or given.get("dropout_p") == 0 or given.get("p") == 0:
        return
    raise CaptureError(
        f"capture: {where(node)}: expected a result that follows from the inputs, got the random operator "
        f"{node.target}. What to do: call model.eval(), or pass the random numbers as an input"
    )


def where(node: fx.Node) -> str:
    """Return the module and the line of the user's code that a node comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    modules = [entry[0] for entry in stack.values()]
    trace = (node.meta.get("stack_trace") or "").splitlines()
    lines = [line.strip() for line in trace if "File" in line and "<eval_with_key>" not in line]
    return " ".join([f"module {modules[-1] or '(root)'}" if modules else node.name, *lines[-1:]])
