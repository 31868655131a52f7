"""Operators that move more than they compute, as models: (module, inputs for a number of elements)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.function(x, y)


@dataclass(frozen=True)
class Operator:
    """An operator ``function(x, y)`` on float32 [rows, width]; only a ``binary`` one reads y.

    ``moved`` is how many numbers it reads and writes, as a multiple of the size of x.
    """

    name: str
    function: Callable[[Tensor, Tensor], Any]
    moved: float = 2.0
    binary: bool = False


OPERATORS = (
    Operator("scale and shift", lambda x, y: x * 2.0 + 1.0),
    Operator("relu of a sum", lambda x, y: torch.relu(x + y), 3.0, True),
    Operator("chain of five", lambda x, y: torch.relu(x * 0.5 + y) * y - x.abs(), 3.0, True),
    Operator("gelu", lambda x, y: F.gelu(x)),
    Operator("exp", lambda x, y: torch.exp(x)),
    Operator("row added", lambda x, y: x + y[:1], 2.0, True),
    Operator("column added", lambda x, y: x + y[:, :1], 2.0, True),
    Operator("softmax of rows", lambda x, y: torch.softmax(x, -1)),
    Operator("softmax of columns", lambda x, y: torch.softmax(x, 0)),
    Operator("layer norm", lambda x, y: F.layer_norm(x, (x.shape[-1],))),
    Operator("rms norm", lambda x, y: F.rms_norm(x, (x.shape[-1],))),
    Operator("sum of rows", lambda x, y: x.sum(-1), 1.0),
    Operator("sum of columns", lambda x, y: x.sum(0), 1.0),
    Operator("sum of all", lambda x, y: x.sum(), 1.0),
    Operator("mean of rows", lambda x, y: x.mean(-1), 1.0),
    Operator("largest of rows", lambda x, y: x.amax(-1), 1.0),
    Operator("place of the largest", lambda x, y: x.argmax(-1), 1.0),
    Operator("length of rows", lambda x, y: F.normalize(x, dim=-1)),
    Operator("transpose", lambda x, y: x.t().contiguous()),
    Operator("concatenate", lambda x, y: torch.cat([x, y], -1), 4.0, True),
    Operator("running sum", lambda x, y: x.cumsum(-1)),
)
