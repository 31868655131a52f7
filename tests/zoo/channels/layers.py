"""Blocks that several of the nets share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Sequential):
    """Convolution, batch norm, activation."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: Callable[[], nn.Module] = nn.ReLU,
        dilation: int = 1,
    ):
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(inside, outside, kernel, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(outside),
            act(),
        )


class Excite(nn.Module):
    """Squeeze and excitation: a gate for each channel from the means of all."""

    def __init__(self, width: int, inner: int, gate: Callable[[], nn.Module] = nn.Sigmoid):
        super().__init__()
        self.reduce, self.expand, self.gate = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of an image."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + 1e-6)
        return y * self.weight[:, None, None] + self.bias[:, None, None]
