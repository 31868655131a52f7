"""MobileNetV2 with random weights, as published (Sandler et al. 2018, width 1.0)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# expansion, channels, repeats, stride of the first
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _layer(inputs: int, outputs: int, size: int, stride: int, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Inverted(nn.Module):
    """1x1 up, depthwise 3x3, 1x1 down, and a residual where the shape allows."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.up = _layer(inputs, width, 1, 1) if expansion > 1 else None
        self.depthwise, self.down = _layer(width, width, 3, stride, width), _layer(width, outputs, 1, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.up is None else F.relu6(self.up(x))
        y = self.down(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Images [N, 3, H, W] -> [N, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        blocks, inputs = [], 32
        for expansion, outputs, count, stride in STAGES:
            for number in range(count):
                blocks.append(Inverted(inputs, outputs, expansion, stride if not number else 1))
                inputs = outputs
        self.first, self.last = _layer(3, 32, 3, 2), _layer(inputs, 1280, 1, 1)
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.first(x)))
        return self.fc(F.relu6(self.last(x)).mean((2, 3)))


def mobilenet_v2() -> nn.Module:
    """Make the network in eval mode, always with the same weights."""
    torch.manual_seed(0)
    return MobileNetV2().eval()
