"""The activations that operators compute together with a product, by name."""

import torch
from torch import Tensor
from torch.nn import functional as F


def activate(x: Tensor, activation: str) -> Tensor:
    """One of "", "relu", "gelu", "gelu_tanh", "tanh", "sigmoid", "silu", "relu6" and "hardswish" on ``x``.

    All of PyTorch's own definition.
    """
    match activation:
        case "":
            return x
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "tanh" | "sigmoid":
            return getattr(torch, activation)(x)
        case _:
            return getattr(F, activation)(x)
