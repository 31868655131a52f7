"""What the grid is made of: functions of the same inputs, compiled as one module."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]


@dataclass(frozen=True)
class Theme:
    """``inputs()`` gives the tensors that every function takes; ``dynamic``: names of symbolic axes per input."""

    name: str
    inputs: Callable[[], tuple[Tensor, ...]]
    functions: dict[str, Function]
    dynamic: tuple[dict[int, str], ...] = field(default=())


def odd_numbers(dtype: torch.dtype = torch.float32) -> Tensor:
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 88.5, -88.5, 100.0, -104.0, 1e-8, -1e-8]
    values += [math.inf, -math.inf, math.nan, 3.7, -3.7, 1e10]
    return torch.cat([torch.tensor(values, dtype=dtype), 3 * torch.randn(20, dtype=dtype)]).reshape(6, 7)


def call(name: str, *rest: Any) -> Function:
    return lambda *x: getattr(torch, name)(x[0], *rest)


def both(name: str, **options: Any) -> Function:
    return lambda a, b, *_: getattr(torch, name)(a, b, **options)
