"""Every ATen operator that may be lowered, with the arguments that are easily got wrong: negative axes and indices,
steps, kept axes, broadcasting, type promotion, NaN, infinities and signs.

A theme is a set of functions of the same inputs; it is compiled as one module, without any rewrite before it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten

Function = Callable[..., Any]


@dataclass(frozen=True)
class Theme:
    """``inputs()`` gives the tensors that every function takes; ``dynamic``: names of symbolic axes per input."""

    name: str
    inputs: Callable[[], tuple[Tensor, ...]]
    functions: dict[str, Function]
    dynamic: tuple[dict[int, str], ...] = field(default=())

    @property
    def quick(self) -> bool:
        return self.name in QUICK


def floats(*shape: int) -> Tensor:
    return torch.randn(*shape)


def odd_numbers(dtype: torch.dtype = torch.float32) -> Tensor:
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 88.5, -88.5, 100.0, -104.0, 1e-8, -1e-8]
    values += [math.inf, -math.inf, math.nan, 3.7, -3.7, 1e10]
    return torch.cat([torch.tensor(values, dtype=dtype), 3 * torch.randn(20, dtype=dtype)]).reshape(6, 7)


UNARY = (
    "abs",
    "ceil",
    "floor",
    "trunc",
    "round",
    "neg",
    "relu",
    "sign",
    "square",
    "cos",
    "erf",
    "exp",
    "log",
    "log1p",
    "log2",
    "reciprocal",
    "rsqrt",
    "sigmoid",
    "sin",
    "sqrt",
    "tanh",
    "isnan",
    "isinf",
    "logical_not",
)
WHOLE_UNARY = (
    "abs",
    "ceil",
    "floor",
    "trunc",
    "round",
    "neg",
    "relu",
    "sign",
    "square",
    "exp",
    "sqrt",
    "sigmoid",
    "bitwise_not",
    "logical_not",
    "isnan",
    "isinf",
    "reciprocal",
    "tanh",
)
ORDER = ("eq", "ne", "lt", "le", "gt", "ge")


def call(name: str, *rest: Any) -> Function:
    return lambda *x: getattr(torch, name)(x[0], *rest)


def both(name: str, **options: Any) -> Function:
    return lambda a, b, *_: getattr(torch, name)(a, b, **options)


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

SHAPING = (
    Theme(
        "shapes",
        lambda: (torch.randn(2, 3, 4),),
        {
            "view": lambda x: x.view(6, 4),
            "reshape": lambda x: x.transpose(0, 1).reshape(3, -1),
            "flatten": lambda x: x.flatten(1),
            "unflatten": lambda x: x.unflatten(-1, (2, 2)),
            "unsqueeze": lambda x: x.unsqueeze(-2),
            "squeeze": lambda x: x[:1].squeeze(0),
            "squeeze all": lambda x: x[:1].squeeze(),
            "squeezes": lambda x: x[:1, :1].squeeze((0, 1)),
            "unsafe": lambda x: aten._unsafe_view(x, [6, 4]),
            "permute": lambda x: x.permute(2, 0, 1),
            "permute back": lambda x: x.permute(-1, 0, -2),
            "transpose": lambda x: x.transpose(-1, 0),
            "t": lambda x: x[0].t() * 1,
            "t of a vector": lambda x: aten.t(x[0, 0]),
            "expand": lambda x: x[:, :1].expand(2, 5, 4),
            "expand new": lambda x: x.expand(3, -1, -1, -1),
            "repeat": lambda x: x.repeat(2, 1, 3),
            "repeat new": lambda x: x[0].repeat(2, 1, 2),
            "tile": lambda x: x.tile(2),
            "interleave": lambda x: x.repeat_interleave(3, dim=-2),
            "slice": lambda x: x[:, 1:],
            "slice end": lambda x: x[..., :-1],
            "slice last": lambda x: x[:, -2:],
            "slice step": lambda x: x[..., 1::2],
            "slice far": lambda x: x[:, 1:100],
            "slice before": lambda x: x[:, -100:2],
            "slice step 3": lambda x: x[..., -4:-1:3],
            "select": lambda x: x[1],
            "select last": lambda x: x.select(-1, -1),
            "select back": lambda x: x[:, -3],
            "split": lambda x: x.split(2, -1)[1],
            "split uneven": lambda x: x.split(2, 1)[1],
            "split sizes": lambda x: x.split([1, 3], 2)[1],
            "chunk": lambda x: x.chunk(3, -1)[1],
            "unbind": lambda x: x.unbind(-2)[2],
            "split all": lambda x: sum(x.split(1, 1)),
            "cat": lambda x: torch.cat([x, x[:, :1], x.abs()], -2),
            "cat last": lambda x: torch.cat([x[..., 2:], x], -1),
            "cat empty": lambda x: torch.cat([torch.zeros(0), x.flatten()]),
            "cat types": lambda x: torch.cat([x > 0, x]),
            "stack": lambda x: torch.stack([x, -x, x * 2], 1),
            "stack last": lambda x: torch.stack([x, -x], -1),
            "pad": lambda x: F.pad(x, (1, 2)),
            "pad value": lambda x: F.pad(x, (0, 1, 2, 0), value=3.0),
            "pad cut": lambda x: F.pad(x, (-1, 2)),
            "constant pad": lambda x: aten.constant_pad_nd(x, [1, 0, 0, 2], -1.0),
            "reflect": lambda x: F.pad(x, (2, 3), mode="reflect"),
            "replicate": lambda x: F.pad(x, (2, 1), mode="replicate"),
            "circular": lambda x: F.pad(x, (1, 3), mode="circular"),
            "flip": lambda x: x.flip(-1, 0),
            "roll": lambda x: x.roll(1, 1),
            "roll two": lambda x: x.roll((-1, 2), (0, -1)),
            "roll far": lambda x: x.roll(-9, -1),
            "tril": lambda x: x.tril(),
            "triu": lambda x: x.triu(1),
            "tril low": lambda x: x.tril(-1),
            "triu low": lambda x: x.triu(-1),
            "diagonal": lambda x: x.diagonal(),
            "diagonal off": lambda x: x.diagonal(1, -2, -1),
            "diagonal below": lambda x: x.diagonal(-1, 1, 2),
            "slice_scatter": lambda x: aten.slice_scatter(x, x[:, :2] * 2, 1, -2, 100),
            "slice_scatter step": lambda x: aten.slice_scatter(x, x[..., :2] * 2, -1, 0, 4, 2),
            "select_scatter": lambda x: aten.select_scatter(x, x[0] * 2, 0, -1),
            "arange": lambda x: torch.arange(5) + x[0, 0, 0],
            "arange start": lambda x: torch.arange(2, 9, 3) + x[0, 0, 0],
            "arange down": lambda x: torch.arange(5, -2, -2) + x[0, 0, 0],
            "arange float": lambda x: torch.arange(0.5, 3, 0.3) + x[0, 0, 0],
            "eye": lambda x: torch.eye(3) + x[0, 0, 0],
            "eye wide": lambda x: torch.eye(3, 4) + x,
            "full": lambda x: torch.full((2, 2), 2.5) + x[0, 0, 0],
            "full_like": lambda x: torch.full_like(x, 7),
            "new_full": lambda x: x.new_full((2,), -1),
            "scalar": lambda x: aten.scalar_tensor(2.5) + x,
            "zeros": lambda x: torch.zeros(2, 2) + x[0, 0, 0],
            "zeros_like": lambda x: torch.zeros_like(x),
            "new_zeros": lambda x: x.new_zeros(3),
            "ones": lambda x: torch.ones(2, dtype=torch.int64) + x[0, 0, 0],
            "ones_like": lambda x: torch.ones_like(x, dtype=torch.int64),
            "new_ones": lambda x: x.new_ones(3),
        },
    ),
    Theme(
        "symbolic shapes",
        lambda: (torch.randn(3, 6, 4),),
        {
            "view": lambda x: x.view(-1, 4) + 1,
            "merge": lambda x: x.reshape(x.shape[0], -1),
            "split": lambda x: x.unflatten(-1, (2, 2)),
            "select": lambda x: x[:, -1],
            "first": lambda x: x[-1],
            "slice": lambda x: x[:, 1:-1],
            "prefix": lambda x: x[:, : x.shape[0]],
            "expand": lambda x: x[:, :1].expand(-1, x.shape[1], -1),
            "arange": lambda x: torch.arange(x.shape[1]) + x[..., 0],
            "range": lambda x: torch.arange(1, x.shape[1] + 1) * x[..., 0],
            "cat": lambda x: torch.cat([x, x[:, :1]], 1),
            "pad": lambda x: F.pad(x, (0, 0, 1, 0)),
            "flip": lambda x: x.flip(1),
            "roll": lambda x: x.roll(1, 1),
            "full": lambda x: torch.full((x.shape[0], x.shape[1]), -1.0),
            "triu": lambda x: torch.full((x.shape[1], x.shape[1]), -9.0).triu(1),
            "size": lambda x: x / x.shape[1],
            "sum": lambda x: x.sum(1),
            "mean": lambda x: x.mean((0, 1)),
            "softmax": lambda x: x.softmax(1),
            "argmax": lambda x: x.argmax(1),
            "cumsum": lambda x: x.cumsum(1),
            "max": lambda x: x.max(1).values,
            "matmul": lambda x: x @ x.mT,
            "gather": lambda x: x.gather(
                1, x.argsort(1) if False else torch.zeros_like(x, dtype=torch.int64)
            ),
            "index": lambda x: x[torch.arange(x.shape[0]), -1],
            "outer": lambda x: x[:, :, None] * x[:, None],
            "compare": lambda x: torch.arange(x.shape[1])[:, None] >= torch.arange(x.shape[1])[None],
            "double": lambda x: torch.cat([x, x], 1).sum(0),
            "stack": lambda x: torch.stack([x, -x], 2).flatten(1, 2),
            "interleave": lambda x: x.repeat_interleave(2, 1),
            "index_add": lambda x: torch.zeros_like(x).index_add(1, torch.arange(x.shape[1]), x),
            "scatter": lambda x: x.scatter(1, torch.zeros_like(x, dtype=torch.int64), x),
            "any": lambda x: (x > 1).any(1),
            "norm": lambda x: F.normalize(x, dim=-1),
            "repeat": lambda x: x.repeat(1, 2, 1),
        },
        ({0: "batch", 1: "length"},),
    ),
)

REDUCTIONS = (
    Theme(
        "reductions",
        lambda: (torch.randn(3, 4, 5),),
        {
            **{
                f"{name} {dim} {keep}": lambda x, name=name, dim=dim, keep=keep: getattr(torch, name)(
                    x, dim, keepdim=keep
                )
                for name in ("sum", "mean", "amax", "amin", "argmax", "argmin", "any", "all", "prod")
                for dim in (0, -1)
                for keep in (False, True)
            },
            **{
                f"{name} two": lambda x, name=name: getattr(torch, name)(x, (0, -1))
                for name in ("sum", "mean", "amax", "amin", "any", "all")
            },
            **{name: call(name) for name in ("sum", "mean", "prod", "max", "min", "argmax", "argmin")},
            "any": lambda x: (x > 2).any(),
            "all": lambda x: (x < 2).all(),
            "max dim": lambda x: x.max(1),
            "min dim": lambda x: x.min(-1, keepdim=True),
            "values": lambda x: x.max(-1).values * 2,
            "argmax kept": lambda x: x.argmax(keepdim=True),
            "ties": lambda x: (x > 0).int().argmax(1),
            "ties low": lambda x: (x > 0).int().argmin(-1),
            "ties max": lambda x: x.round().max(1).indices,
            "cumsum": lambda x: x.cumsum(-2),
            "cumsum whole": lambda x: (x > 0).cumsum(-1),
            "cumsum type": lambda x: x.cumsum(0, dtype=torch.float64),
            "cumprod": lambda x: x.cumprod(1),
            "norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
            "norm kept": lambda x: torch.linalg.vector_norm(x, dim=(0, 1), keepdim=True),
            "softmax": lambda x: x.softmax(1),
            "softmax last": lambda x: x.softmax(-1),
            "softmax type": lambda x: x.softmax(-1, dtype=torch.float64),
            "log_softmax": lambda x: x.log_softmax(-1),
            "log_softmax first": lambda x: x.log_softmax(0),
            "_softmax": lambda x: aten._softmax(x, -1, False),
            "_log_softmax": lambda x: aten._log_softmax(x, 1, False),
            "topk": lambda x: x.topk(2),
            "topk small": lambda x: x.topk(3, 1, largest=False),
            "sum type": lambda x: (x > 0).sum(0),
            "sum whole": lambda x: (x * 9).int().sum(-1),
            "sum float64": lambda x: x.sum(-1, dtype=torch.float64),
            "mean float64": lambda x: x.double().mean(),
            "scalar softmax": lambda x: x[0, 0, 0].softmax(0),
            "scalar sum": lambda x: x[0, 0, 0].sum(),
            "scalar cumsum": lambda x: x[0, 0, 0].cumsum(0),
        },
    ),
    Theme(
        "reductions of odd numbers",
        lambda: (odd_numbers(),),
        {
            "sum": lambda x: x.sum(1),
            "amax": lambda x: x.amax(1),
            "amin": lambda x: x.amin(0),
            "argmax": lambda x: x.argmax(1),
            "argmin": lambda x: x.argmin(0),
            "max": lambda x: x.max(),
            "softmax": lambda x: x.softmax(-1),
            "masked softmax": lambda x: x.masked_fill(torch.arange(7) > -1, -math.inf).softmax(-1),
            "any": lambda x: x.any(1),
            "max dim": lambda x: x.max(0),
            "log_softmax": lambda x: x.log_softmax(0),
        },
    ),
)

INDEXING = (
    Theme(
        "indices",
        lambda: (torch.randn(4, 5, 3), torch.tensor([[0, 3], [2, 2]]), torch.tensor([-1, 1])),
        {
            "one": lambda x, i, j: x[i],
            "second": lambda x, i, j: x[:, j],
            "unsafe": lambda x, i, j: aten._unsafe_index(x, [None, i]),
            "two": lambda x, i, j: x[i, j],
            "apart": lambda x, i, j: x[i, :, j],
            "last": lambda x, i, j: x[..., i % 3],
            "late two": lambda x, i, j: x[:, i, j],
            "whole": lambda x, i, j: i[j],
            "select": lambda x, i, j: x.index_select(-2, i[0]),
            "embedding": lambda x, i, j: F.embedding(i, x[0]),
            "gather": lambda x, i, j: x.gather(0, i[..., None].expand(2, 2, 3) % 4),
            "gather last": lambda x, i, j: x.gather(-1, (i % 3)[None].expand(2, 2, 2)),
            "gather scalar": lambda x, i, j: x.gather(1, i[None, :1, :1].expand(4, 1, 3)),
            "index_add": lambda x, i, j: x.index_add(1, i[0], x[:, :2]),
            "index_add alpha": lambda x, i, j: x.index_add(-1, i[1], x[..., :2], alpha=2),
            "index_add same": lambda x, i, j: torch.zeros(4, 5).index_add(0, i.flatten(), torch.ones(4, 5)),
            "scatter": lambda x, i, j: x.scatter(1, i[:, :, None], x[:2, :2, :1] * 2),
            "scatter value": lambda x, i, j: x.scatter(0, i[None], 7.0),
            "scatter one_hot": lambda x, i, j: torch.zeros(2, 4).scatter(1, i[:, :1], 1.0),
            "scatter_add": lambda x, i, j: x.scatter_add(-2, i[:, :, None], x[2:, :2, 2:]),
            **{
                f"scatter {how}": lambda x, i, j, how=how: x.scatter_reduce(
                    1, i[:, :, None], x[2:, :2, 2:], how
                )
                for how in ("sum", "prod", "amax", "amin")
            },
            "scatter alone": lambda x, i, j: x.scatter_reduce(
                1, i[:, :, None], x[2:, :2, 2:], "amax", include_self=False
            ),
            "scatter sum alone": lambda x, i, j: x.scatter_reduce(
                1, i[:, :, None], x[2:, :2, 2:], "sum", include_self=False
            ),
            "put": lambda x, i, j: aten.index_put(
                x, [i], x[:2, :2, None] * torch.ones(5, 3) if False else torch.ones(5, 3)
            ),
            "put add": lambda x, i, j: aten.index_put(
                x, [None, i], x[:, :2, :1, None] if False else torch.ones(3), True
            ),
            "put apart": lambda x, i, j: aten.index_put(x, [j, None, j], torch.full((2, 5), 5.0)),
        },
    ),
)


def convolutions(space: int) -> dict[str, Function]:
    name, up = f"conv{space}d", f"conv_transpose{space}d"

    def weight(outputs: int, inputs: int, size: int) -> Tensor:
        torch.manual_seed(outputs + 10 * inputs + 100 * size)
        return torch.randn(outputs, inputs, *[size] * space)

    table: dict[str, Function] = {}
    for number, options in enumerate(
        (
            {},
            {"padding": 1},
            {"stride": 2, "padding": 1},
            {"dilation": 2, "padding": 2},
            {"groups": 2},
            {"padding": "same"},
            {"padding": "valid"},
        )
    ):
        w = weight(6, 4 // options.get("groups", 1), 3)
        table[f"{name} {number}"] = lambda x, w=w, o=options: getattr(F, name)(x, w, torch.arange(6.0), **o)
    single, even, point, plain = weight(4, 1, 3), weight(2, 4, 2), weight(2, 4, 1), weight(2, 4, 3)
    table["depthwise"] = lambda x, w=single: getattr(F, name)(x, w, None, padding=1, groups=4)
    table["even window"] = lambda x, w=even: getattr(F, name)(x, w, padding="same")
    table["point"] = lambda x, w=point: getattr(F, name)(x, w)
    table["no batch"] = lambda x, w=plain: getattr(F, name)(x[0], w)
    for number, options in enumerate(
        (
            {},
            {"stride": 2},
            {"stride": 2, "padding": 1, "output_padding": 1},
            {"groups": 2},
            {"dilation": 2, "stride": 3},
        )
    ):
        w = weight(4, 6 // options.get("groups", 1), 3)
        table[f"up {number}"] = lambda x, w=w, o=options: getattr(F, up)(x, w, None, **o)
    return table


PRODUCTS = (
    Theme(
        "products",
        lambda: (torch.randn(2, 3, 4), torch.randn(4, 5)),
        {
            "matmul": lambda x, w: x @ w,
            "batched": lambda x, w: torch.matmul(x, x.mT),
            "bmm": lambda x, w: torch.bmm(x, x.mT),
            "mm": lambda x, w: torch.mm(x[0], w),
            "mv": lambda x, w: torch.mv(x[0], w[:, 0]),
            "dot": lambda x, w: torch.dot(w[0], w[1]),
            "vector left": lambda x, w: torch.matmul(x[0, 0], w),
            "vector right": lambda x, w: torch.matmul(x, w[:, 1]),
            "spread": lambda x, w: torch.matmul(x[:, None], x.mT[None]),
            "linear": lambda x, w: F.linear(x, w.t() * 1),
            "linear bias": lambda x, w: F.linear(x, w.t(), w[0]),
            "float64": lambda x, w: x.double() @ w.double(),
            "whole": lambda x, w: (x * 5).to(torch.int64) @ (w * 5).to(torch.int64),
            "linear vector": lambda x, w: F.linear(x[0, 0], w.t()),
        },
    ),
    Theme(
        "conv1d",
        lambda: (torch.randn(2, 4, 11),),
        {
            **convolutions(1),
            "max": lambda x: F.max_pool1d(x, 3, 2, 1),
            "mean": lambda x: F.avg_pool1d(x, 3, 2, 1),
            "adaptive": lambda x: F.adaptive_avg_pool1d(x, 1),
            "general": lambda x: aten.convolution(x, torch.ones(3, 4, 2), None, [2], [1], [1], False, [0], 1),
        },
    ),
    Theme(
        "conv2d",
        lambda: (torch.randn(2, 4, 8, 6),),
        {
            **convolutions(2),
            "general up": lambda x: aten.convolution(
                x, torch.ones(4, 3, 2, 2), None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1
            ),
            "rectangle": lambda x: F.conv2d(x, torch.ones(3, 4, 1, 3), stride=(2, 1), padding=(0, 1)),
            "max": lambda x: F.max_pool2d(x, 2),
            "max padded": lambda x: F.max_pool2d(x, 3, 2, 1),
            "max dilated": lambda x: F.max_pool2d(x, 2, 1, 0, 2),
            "max ceil": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
            "max odd": lambda x: F.max_pool2d(x[..., 1:], (3, 2)),
            "mean": lambda x: F.avg_pool2d(x, 2),
            "mean padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
            "mean inside": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            "mean ceil": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
            "mean divisor": lambda x: F.avg_pool2d(x, (2, 3), divisor_override=5),
            "mean ceil inside": lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
            "adaptive": lambda x: F.adaptive_avg_pool2d(x, 1),
            "adaptive 2": lambda x: F.adaptive_avg_pool2d(x, (4, 2)),
            "adaptive raw": lambda x: aten._adaptive_avg_pool2d(x, [1, 1]),
        },
    ),
    Theme(
        "conv3d",
        lambda: (torch.randn(1, 4, 5, 4, 6),),
        {
            **convolutions(3),
            "max": lambda x: F.max_pool3d(x, 2),
            "mean": lambda x: F.avg_pool3d(x, 2),
            "adaptive": lambda x: F.adaptive_avg_pool3d(x, 1),
        },
    ),
)

THEMES = (*ELEMENTWISE, *SHAPING, *REDUCTIONS, *INDEXING, *PRODUCTS)

# Compiled in every test run; the others are slow.
QUICK = {
    "copies",
    "odd float64",
    "bools",
    "indices",
    "products",
    "symbolic shapes",
    "reductions of odd numbers",
}
