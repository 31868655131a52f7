"""MobileNetV2 (inverted residuals) and a net of EfficientNet's blocks (squeeze-and-excitation, SiLU)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.convnets import BATCH, CLASSES, image
from tests.zoo.model import ZooModel
from tests.zoo.prune import Coupled


class Excite(nn.Module):
    """Scales each channel by a gate computed from the mean of all."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """1x1 up, depthwise, perhaps excitation, 1x1 down, and a residual where the shape allows."""

    def __init__(self, inside: int, outside: int, stride: int, kernel: int, excite: bool):
        super().__init__()
        width = 4 * inside
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.excite: nn.Module = Excite(width, inside) if excite else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(width, outside, 1, bias=False), nn.BatchNorm2d(outside)
        self.activation: nn.Module = nn.SiLU() if excite else nn.ReLU6()
        self.residual = inside == outside and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.bn1(self.conv1(x)))
        h = self.excite(self.activation(self.bn2(self.depthwise(h))))
        h = self.bn3(self.conv3(h))
        return x + h if self.residual else h


class MobileNet(nn.Module):
    """Images [batch, 3, height, width] -> logits [batch, classes]."""

    def __init__(self, width: int, kernels: tuple[int, ...], excite: bool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        layers = []
        inside = width
        for number, kernel in enumerate(kernels):
            outside = width * (1 + number // 2)
            layers.append(Inverted(inside, outside, 1 + number % 2, kernel, excite))
            inside = outside
        self.blocks = nn.Sequential(*layers)
        self.conv2, self.bn2 = nn.Conv2d(inside, 4 * inside, 1, bias=False), nn.BatchNorm2d(4 * inside)
        self.fc = nn.Linear(4 * inside, CLASSES)
        self.activation: nn.Module = nn.SiLU() if excite else nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.activation(self.bn1(self.conv1(x))))
        x = self.activation(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


def mobilenet(scale: int) -> nn.Module:
    return MobileNet(8 * scale, (3, 3, 3, 3, 3), False)


def efficientnet(scale: int) -> nn.Module:
    return MobileNet(8 * scale, (3, 5, 3, 5, 3), True)


# The channels between the two 1x1 convolutions of a block, through the depthwise one and both norms.
INNER = Coupled(
    out=("blocks.*.conv1", "blocks.*.depthwise"),
    into=("blocks.*.conv3",),
    norms=("blocks.*.bn1", "blocks.*.bn2"),
)
LAST = Coupled(out=("conv2",), into=("fc",), norms=("bn2",))
EXCITE = Coupled(out=("blocks.*.excite.reduce",), into=("blocks.*.excite.expand",))

SIZES: dict[str, Any] = {"sizes": (2, 32), "other": (3, 32), "timed": (1, 128)}

MODELS = (
    ZooModel("mobilenetv2", mobilenet, image, (INNER, LAST), BATCH, **SIZES),
    ZooModel("efficientnet", efficientnet, image, (INNER, EXCITE, LAST), BATCH, **SIZES),
)
