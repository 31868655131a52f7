"""Reductions, scans, softmax and top-k: kept axes, ties, types of sums."""

import math

import torch

from tests.lower.grid.theme import Theme, call, odd_numbers

aten = torch.ops.aten

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
