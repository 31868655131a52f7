"""How far a compiled model's result is from the model's own."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

TOLERANCE = 2e-5


def compare(actual: Any, expected: Any) -> float:
    """Largest difference over largest reference value, the worst of all leaves; infinite when they cannot be compared.

    Leaves of integers and booleans must be equal. The structures must be equal, classes included.
    """
    leaves, spec = pytree.tree_flatten(actual)
    wanted, wanted_spec = pytree.tree_flatten(expected)
    if spec != wanted_spec:
        return float("inf")
    return max((_leaf(*pair) for pair in zip(leaves, wanted, strict=True)), default=0.0)


def _leaf(actual: Any, expected: Any) -> float:
    if not isinstance(expected, torch.Tensor):
        return 0.0 if actual == expected else float("inf")
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    if not expected.is_floating_point():
        return 0.0 if torch.equal(actual, expected) else float("inf")
    if not expected.numel() or torch.equal(actual, expected):
        return 0.0
    difference = float((actual.double() - expected.double()).abs().max())
    scale = float(expected.double().abs().max())
    # Not a number compares false with everything, and must not pass for equal.
    return difference / scale if difference == difference and scale > 0 else float("inf")
