"""The activations that operators compute together with a product: names, ATen operators and definitions, once."""

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.ir.nodes import arguments, is_op

aten = torch.ops.aten

PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
"""Name -> PyTorch's own function."""
ROUNDED = "bfloat16"
"""Rounding to bfloat16, as an activation: before another, after it, or both."""


def with_roundings(
    functions: Mapping[str, Callable[[Any], Any]], rounded: Callable[[Any], Any]
) -> dict[str, Callable[[Any], Any]]:
    """Activations by name, and those with roundings: "bfloat16", "bfloat16/relu", "bfloat16/relu/bfloat16".

    Args:
        functions: by name; that of "" changes nothing.
        rounded: rounds to bfloat16.
    """
    made = dict(functions) | {ROUNDED: rounded}
    for name, function in functions.items():
        if name:
            made[f"{ROUNDED}/{name}"] = _in_turn(rounded, function)
            made[f"{ROUNDED}/{name}/{ROUNDED}"] = _in_turn(rounded, function, rounded)
    return made


def _in_turn(*functions: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: reduce(lambda value, function: function(value), functions, x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = with_roundings(
    PLAIN, lambda x: x.to(torch.bfloat16).to(x.dtype)
)
"""Those of :data:`PLAIN`, and with roundings. Kernels and operators of ours call an activation by this name.

"prelu" is one too, for operators that take its slopes; see :func:`activate`.
"""

_BY_OPERATOR = {
    aten.relu.default: "relu",
    aten.relu6.default: "relu6",
    aten.silu.default: "silu",
    aten.hardswish.default: "hardswish",
    aten.tanh.default: "tanh",
    aten.sigmoid.default: "sigmoid",
}
_BY_LIMITS = {(0, 6): "relu6", (0, None): "relu"}
# The operators that may be one of them, depending on their other arguments; their first operand is the only tensor.
ACTIVATION_OPERATORS = (
    *_BY_OPERATOR, aten.gelu.default, aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default,
)  # fmt: skip


def activation_of(node: Any) -> str | None:
    """The name of the activation that ``node`` computes of its first operand; None when it is none of the table."""
    if not is_op(node, *ACTIVATION_OPERATORS):
        return None
    if is_op(node, aten.gelu.default):
        return "gelu_tanh" if arguments(node)["approximate"] == "tanh" else "gelu"
    if node.target in _BY_OPERATOR:
        return _BY_OPERATOR[node.target]
    low, high = (*list(arguments(node).values())[1:3], None)[:2]
    numbers = all(limit is None or isinstance(limit, int | float) for limit in (low, high))
    return _BY_LIMITS.get((low, high)) if numbers else None


def after(first: str, then: str) -> str | None:
    """The name of one activation behind another; None where the table has no such pair."""
    joined = "/".join(filter(None, (first, then)))
    return joined if joined in ACTIVATIONS else None


def activate(x: Tensor, activation: str, slope: Tensor | None = None) -> Tensor:
    """An activation of ``x`` by name.

    Args:
        x: any shape, floating.
        activation: a key of :data:`ACTIVATIONS`, or "prelu".
        slope: of "prelu"; broadcasts to ``x``.
    """
    if activation == "prelu":
        assert slope is not None  # whoever asks for this one has it
        return torch.where(x > 0, x, x * slope)
    return ACTIVATIONS[activation](x)
