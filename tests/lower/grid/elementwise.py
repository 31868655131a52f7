"""One number at a time: signs, halves, NaN and infinities, promotion between types, broadcasting."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.lower.grid.theme import Function, Theme, both, call, odd_numbers

aten = torch.ops.aten

UNARY = (
    "abs", "ceil", "floor", "trunc", "round", "neg", "relu", "sign", "square", "cos", "erf", "exp", "log",
    "log1p", "log2", "reciprocal", "rsqrt", "sigmoid", "sin", "sqrt", "tanh", "isnan", "isinf",
    "logical_not",
)  # fmt: skip
WHOLE_UNARY = (
    "abs", "ceil", "floor", "trunc", "round", "neg", "relu", "sign", "square", "exp", "sqrt", "sigmoid",
    "bitwise_not", "logical_not", "isnan", "isinf", "reciprocal", "tanh",
)  # fmt: skip


ORDER = ("eq", "ne", "lt", "le", "gt", "ge")


def binary() -> dict[str, Function]:
    table: dict[str, Function] = {}
    for name in (*ORDER, "add", "sub", "mul", "div", "maximum", "minimum"):
        table[name] = both(name)
        if name not in ("maximum", "minimum"):
            table[f"{name} number"] = call(name, 2)
            table[f"{name} fraction"] = call(name, 0.75)
    for mode in (None, "floor", "trunc"):
        table[f"div {mode}"] = both("div", rounding_mode=mode)
        table[f"div number {mode}"] = lambda a, b, mode=mode: torch.div(a, -2, rounding_mode=mode)
    for name in ("remainder", "fmod", "floor_divide"):
        table[name] = both(name)
        table[f"{name} number"] = call(name, 3)
        table[f"{name} negative"] = call(name, -3)
    for name in ("add", "sub", "mul", "div"):
        table[f"{name} Scalar"] = lambda a, b, name=name: getattr(aten, name).Scalar(a, 3)
    table["div Scalar mode"] = lambda a, b: aten.div.Scalar_mode(a, -3, rounding_mode="floor")
    table["masked_fill tensor"] = lambda a, b: a.masked_fill(b > 0, a.sum())
    table["add alpha bool"] = lambda a, b: torch.add(a, b > 0, alpha=2)
    table["add alpha"] = lambda a, b: torch.add(a, b, alpha=2)
    table["sub alpha"] = lambda a, b: torch.sub(a, b, alpha=3)
    table["rsub"] = lambda a, b: torch.rsub(a, b, alpha=2)
    table["from number"] = lambda a, b: 1 - a
    table["max other"] = lambda a, b: torch.max(a, b)
    table["min other"] = lambda a, b: torch.min(a, b)
    table["where"] = lambda a, b: torch.where(a > b, a, b)
    table["where numbers"] = lambda a, b: torch.where(a > b, 1, 0)
    table["where left"] = lambda a, b: torch.where(a > b, a, 0)
    table["where right"] = lambda a, b: torch.where(a > b, 2, b)
    table["masked_fill"] = lambda a, b: a.masked_fill(b > 0, 3)
    return table


def whole_numbers() -> tuple[Tensor, Tensor]:
    """Every pair of signs, and no zero in the second."""
    return torch.arange(-10, 11).reshape(3, 7), torch.tensor([1, -1, 2, -2, 3, -3, 7])


ELEMENTWISE = (
    Theme(
        "odd float32",
        lambda: (odd_numbers(),),
        {
            **{name: call(name) for name in UNARY},
            **{f"power {p}": call("pow", p) for p in (0, 1, 2, 3, 4, 0.5, -0.5, -1, -2, 2.5, -3)},
            "clamp": lambda x: x.clamp(-1, 2),
            "clamp min": lambda x: x.clamp(min=0.5),
            "clamp max": lambda x: x.clamp_max(1),
            "clamp_min": lambda x: aten.clamp_min(x, 0.5),
            "clamp crossed": lambda x: x.clamp(2, 1),
            "clamp tensor": lambda x: torch.clamp(x, min=x.flip(0), max=x.abs() + 1),
            "clamp min tensor": lambda x: aten.clamp_min.Tensor(x, x.flip(0)),
            "clamp max tensor": lambda x: aten.clamp_max.Tensor(x, x.flip(1)),
            "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.25),
            "relu6": lambda x: F.relu6(x),
            "gelu": lambda x: F.gelu(x.clamp(-1e4, 1e4)),
            "gelu tanh": lambda x: F.gelu(x.clamp(-1e4, 1e4), approximate="tanh"),
            "leaky": lambda x: F.leaky_relu(x, 0.1),
            "silu": lambda x: F.silu(x),
            "power of two": lambda x: torch.pow(2.0, x),
            "remainder": lambda x: x % 0.7,
            "negative remainder": lambda x: x % -0.7,
            "fmod": lambda x: torch.fmod(x, 0.7),
            "floor": lambda x: torch.div(x, 0.1, rounding_mode="floor"),
            "floor 2": lambda x: x // -0.7,
            "maximum": lambda x: torch.maximum(x, x.flip(0)),
            "minimum": lambda x: torch.minimum(x, x.flip(1)),
            "order": lambda x: x < x.flip(0),
            "equal": lambda x: x == x.flip(1),
            "different": lambda x: x != x.flip(1),
            "bool": lambda x: x.to(torch.bool),
            "logical": lambda x: torch.logical_and(x, x.flip(0)),
        },
    ),
    Theme(
        "odd float64",
        lambda: (odd_numbers(torch.float64),),
        {
            **{
                name: call(name)
                for name in ("exp", "tanh", "sigmoid", "erf", "log", "sqrt", "neg", "round", "square")
            },
            "gelu": lambda x: F.gelu(x),
            "narrow": lambda x: x.to(torch.float32),
            "mixed": lambda x: x.float() * x,
        },
    ),
    Theme(
        "whole numbers",
        whole_numbers,
        {
            **binary(),
            **{name: call(name) for name in WHOLE_UNARY},
            "square": call("pow", 2),
            "cube": call("pow", 3),
            "and": lambda a, b: a & b,
            "or": lambda a, b: a | 5,
            "xor": lambda a, b: a ^ b,
            "spelled and": both("bitwise_and"),
            "spelled or": both("bitwise_or"),
            "spelled xor": both("bitwise_xor"),
            "bits": lambda a, b: torch.bitwise_and(a, 3) + torch.bitwise_or(a, 4) + torch.bitwise_xor(a, 5),
            "and number": lambda a, b: a & 6,
            "xor number": lambda a, b: a ^ 6,
            "to float": lambda a, b: a.float(),
            "to int32": lambda a, b: a.to(torch.int32) * 2,
            "to uint8": lambda a, b: (a + 20).to(torch.uint8),
            "promote": lambda a, b: a * 0.5 + b.to(torch.int32),
            "clamp": lambda a, b: a.clamp(-3, 4),
            "logical": lambda a, b: torch.logical_or(a, b),
            "tensor power": lambda a, b: torch.pow(a.float(), b),
            "type_as": lambda a, b: a.type_as(b.float()),
        },
    ),
    Theme("fractions", lambda: (torch.randn(3, 7), torch.randn(7)), binary()),
    Theme(
        "bools",
        lambda: (torch.randn(3, 5) > 0, torch.randn(5) > 0),
        {
            **{
                name: both(name)
                for name in (
                    *ORDER,
                    "add",
                    "mul",
                    "logical_and",
                    "logical_or",
                    "logical_xor",
                    "bitwise_and",
                    "bitwise_or",
                    "bitwise_xor",
                )
            },
            "not": call("bitwise_not"),
            "logical not": call("logical_not"),
            "plus number": call("add", 1),
            "times fraction": call("mul", 0.5),
            "and": lambda a, b: a & b,
            "or": lambda a, b: a | b,
            "xor": lambda a, b: a ^ b,
            "to int": lambda a, b: a.to(torch.int64),
            "to float": lambda a, b: a.float(),
            "where": lambda a, b: torch.where(a, 1.0, -1.0),
            "any": lambda a, b: a.any(),
            "all": lambda a, b: a.all(1),
            "sum": lambda a, b: a.sum(),
        },
    ),
    Theme(
        "bfloat16",
        lambda: (torch.randn(4, 6).bfloat16(), torch.randn(6).bfloat16()),
        {
            "add": both("add"),
            "mul number": call("mul", 0.3),
            "exp": call("exp"),
            "up": lambda a, b: a.float() + b,
            "down": lambda a, b: (a.float() * 3).bfloat16(),
            "compare": both("lt"),
            "sum": lambda a, b: a.sum(0),
            "mean": lambda a, b: a.mean(-1),
            "softmax": lambda a, b: a.softmax(-1),
            "matmul": lambda a, b: a @ b,
            "gelu": lambda a, b: F.gelu(a),
            "max": lambda a, b: a.amax(1),
        },
    ),
    Theme(
        "copies",
        lambda: (torch.randn(2, 3),),
        {
            "clone": lambda x: x.clone() + 1,
            "alias": lambda x: aten.alias(x) + 1,
            "detach": lambda x: x.detach() + 1,
            "tensors broadcast": lambda x: x[:, None] * x[None],
        },
    ),
)
