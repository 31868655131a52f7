"""Operators without parameters: elementwise, reductions, pooling, and what joins two branches."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.fuzz.layers import spatial
from tests.fuzz.operator_table import BOOLEAN, OPERATORS, Apply, Attributes, Draw, Operator
from tests.fuzz.shape import MAX_ELEMENTS, Shape

UNARY = {
    "relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "elu": F.elu, "leaky_relu": F.leaky_relu, "relu6": F.relu6,
    "hardswish": F.hardswish, "softplus": F.softplus, "abs": torch.abs, "neg": torch.neg, "square": torch.square,
    "clamp": lambda x: x.clamp(-1, 1), "half": lambda x: x * 0.5, "minus": lambda x: 1 - x,
    "zero": lambda x: x * 0, "exp": lambda x: (-x.abs()).exp(), "cos": torch.cos, "divide": lambda x: x / 3,
}  # fmt: skip

BINARY = {
    "add": torch.add, "mul": torch.mul, "sub": torch.sub, "maximum": torch.maximum, "minimum": torch.minimum,
    "swiglu": lambda x, y: F.silu(x) * y, "add_alpha": lambda x, y: torch.add(x, y, alpha=2),
}  # fmt: skip

REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "amax": torch.amax, "amin": torch.amin}


def unary(x: Tensor, kind: str) -> Tensor:
    return UNARY[kind](x)


def binary(x: Tensor, y: Tensor, kind: str) -> Tensor:
    return BINARY[kind](x, y)


def reduce(x: Tensor, kind: str, axis: int, keep: bool) -> Tensor:
    return REDUCTIONS[kind](x, dim=axis, keepdim=keep)


def pool(x: Tensor, kind: str) -> Tensor:
    if kind == "max":
        return F.max_pool2d(x, 2) if x.dim() == 4 else F.max_pool1d(x, 2)
    if kind == "padded max":
        return F.max_pool2d(x, 3, 2, 1) if x.dim() == 4 else F.max_pool1d(x, 3, 2, 1)
    if kind == "average":
        return F.avg_pool2d(x, 2) if x.dim() == 4 else F.avg_pool1d(x, 2)
    if kind == "padded average":
        return F.avg_pool2d(x, 3, 1, 1) if x.dim() == 4 else F.avg_pool1d(x, 3, 1, 1)
    return F.adaptive_avg_pool2d(x, 1) if x.dim() == 4 else F.adaptive_avg_pool1d(x, 1)


def masked_fill(x: Tensor, mask: Tensor, value: float) -> Tensor:
    return x.masked_fill(mask.reshape(*mask.shape, *(1,) * (x.dim() - 2)), value)


def select(x: Tensor, mask: Tensor, flip: bool) -> Tensor:
    mask = mask.reshape(*mask.shape, *(1,) * (x.dim() - 2))
    return torch.where(mask, -x, x) if flip else torch.where(mask, x, 0.0)


def product(x: Tensor, y: Tensor) -> Tensor:
    return x @ y.transpose(-1, -2) / x.shape[-1]


def same(x: Shape, y: Shape) -> bool:
    return x.floating and y.floating and (x.small, x.large) == (y.small, y.large)


def broadcast(x: Shape, y: Shape) -> bool:
    """Whether the shapes broadcast, for both sets of inputs, with no size of 1 that is one only by chance."""
    if not (x.floating and x.dtype == y.dtype) or max(x.rank, y.rank) == 0:
        return False
    pairs = [
        (a, b, c, d)
        for (a, b), (c, d) in zip(
            zip(reversed(x.small), reversed(x.large), strict=True),
            zip(reversed(y.small), reversed(y.large), strict=True),
            strict=False,
        )
    ]
    fits = all((a, b) == (c, d) or (a, b) == (1, 1) or (c, d) == (1, 1) for a, b, c, d in pairs)
    if not fits:
        return False
    return torch.broadcast_shapes(x.large, y.large).numel() <= MAX_ELEMENTS


def masks(x: Shape, mask: Shape) -> bool:
    leading = (x.small[:2], x.large[:2]) == (mask.small, mask.large)
    return x.floating and x.rank >= 2 and mask.dtype == torch.bool and mask.rank == 2 and leading


def multiplies(x: Shape, y: Shape) -> bool:
    """``x @ y.T`` for each element of the leading axes."""
    if not (x.floating and y.floating) or x.rank < 2 or x.rank != y.rank or not x.fixed(-1):
        return False
    leading = (x.small[:-2], x.large[:-2]) == (y.small[:-2], y.large[:-2])
    elements = torch.Size(x.large[:-1]).numel() * y.large[-2]
    return leading and x.small[-1] == y.small[-1] and y.fixed(-1) and elements <= MAX_ELEMENTS


def _kind(kinds: Any) -> Any:
    return lambda draw, *shapes: {"kind": draw(st.sampled_from([*kinds]))}


def _reduction(draw: Draw, x: Shape) -> Attributes:
    axis = draw(st.sampled_from(range(-1, -x.rank - 1, -1)))
    return {"kind": draw(st.sampled_from([*REDUCTIONS])), "axis": axis, "keep": draw(BOOLEAN)}


def _operator(function: Any, fits: Any, attributes: Any, operands: int = 1) -> Operator:
    return Operator(lambda *shapes, **a: Apply(function, **a), fits, attributes, operands)


def _axis(draw: Draw, x: Shape) -> Attributes:
    return {"dim": draw(st.sampled_from([-1, x.rank - 2]))}


OPERATORS.update(
    unary=_operator(unary, lambda x: x.floating and x.rank > 0, _kind(UNARY)),
    binary=_operator(binary, same, _kind(BINARY), 2),
    broadcast=_operator(binary, broadcast, _kind(["add", "mul", "sub"]), 2),
    softmax=_operator(torch.softmax, lambda x: x.floating and x.rank >= 2, _axis),
    reduction=_operator(reduce, lambda x: x.floating and x.rank >= 2, _reduction),
    pooling=_operator(pool, spatial, _kind(["max", "average", "padded max", "padded average", "adaptive"])),
    masked_fill=_operator(
        masked_fill, masks, lambda draw, *shapes: {"value": draw(st.sampled_from([0.0, 1.0, -2.0]))}, 2
    ),
    select=_operator(select, masks, lambda draw, *shapes: {"flip": draw(BOOLEAN)}, 2),
    product=_operator(product, multiplies, lambda draw, *shapes: {}, 2),
)
