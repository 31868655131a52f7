"""The activations that operators compute together with a product, by name."""

import torch
from torch import Tensor
from torch.nn import functional as F


def activate(x: Tensor, activation: str, slope: Tensor | None = None) -> Tensor:
    """One of "", "relu", "gelu", "gelu_tanh", "tanh", "sigmoid", "silu", "relu6", "hardswish" and "prelu" on ``x``.

    All of PyTorch's own definition. ``slope``: of "prelu", which broadcasts to ``x``.
    """
    match activation:
        case "":
            return x
        case "prelu":
            assert slope is not None  # whoever asks for this one has it
            return torch.where(x > 0, x, x * slope)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "tanh" | "sigmoid":
            return getattr(torch, activation)(x)
        case _:
            return getattr(F, activation)(x)
