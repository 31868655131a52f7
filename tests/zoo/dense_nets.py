"""Networks held together by concatenation: U-Net with skips, and DenseNet."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.convnets import BATCH, CLASSES, IMAGE, image
from tests.zoo.model import ZooModel
from tests.zoo.prune import Coupled


class Double(nn.Module):
    """Twice: 3x3 convolution, norm, ReLU."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = nn.Conv2d(outside, outside, 3, padding=1), nn.GroupNorm(4, outside)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class UNet(nn.Module):
    """Images [batch, 3, height, width] -> [batch, classes, height, width]; sizes divisible by 4.

    Goes up by a transposed convolution once, and by interpolation once.
    """

    def __init__(self, width: int):
        super().__init__()
        self.down = nn.ModuleList([Double(3, width), Double(width, 2 * width)])
        self.bottom = Double(2 * width, 4 * width)
        self.transposed = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up = nn.ModuleList([Double(4 * width, 2 * width), Double(3 * width, width)])
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down[0](x)
        second = self.down[1](F.max_pool2d(first, 2))
        x = self.transposed(self.bottom(F.max_pool2d(second, 2)))
        x = self.up[0](torch.cat([second, x], 1))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.head(self.up[1](torch.cat([x, first], 1)))


class DenseLayer(nn.Module):
    """Norm first; adds ``growth`` channels to those it is given."""

    def __init__(self, inside: int, growth: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inside), nn.Conv2d(inside, 4 * growth, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(F.relu(self.bn2(h)))], 1)


class DenseNet(nn.Module):
    """Images [batch, 3, height, width] -> logits [batch, classes]."""

    def __init__(self, growth: int, depths: tuple[int, ...]):
        super().__init__()
        inside = 2 * growth
        self.conv = nn.Conv2d(3, inside, 3, padding=1, bias=False)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for depth in depths:
            self.blocks.append(
                nn.Sequential(*(DenseLayer(inside + i * growth, growth) for i in range(depth)))
            )
            inside += depth * growth
            half = nn.Conv2d(inside, inside // 2, 1, bias=False)
            self.transitions.append(nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU(), half, nn.AvgPool2d(2)))
            inside //= 2
        self.bn = nn.BatchNorm2d(inside)
        self.fc = nn.Linear(inside, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            x = transition(block(x))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


def unet(scale: int) -> nn.Module:
    return UNet(8 * scale)


def densenet(scale: int) -> nn.Module:
    return DenseNet(8 * scale, (2, 2))


UNET = (
    *(
        Coupled(out=(f"{part}.conv1",), into=(f"{part}.conv2",), norms=(f"{part}.bn1",))
        for part in ("down.*", "bottom", "up.*")
    ),
    # Channels of the skip from the top: the convolution's, then its group norm's, but no consumer's.
    Coupled(out=("down.0.conv2", "down.0.bn2")),
    Coupled(out=("transposed",)),
)

DENSENET = (
    Coupled(out=("blocks.*.*.conv1",), into=("blocks.*.*.conv2",), norms=("blocks.*.*.bn2",)),
    Coupled(out=("blocks.*.*.conv2",)),
    Coupled(out=("transitions.*.2",)),
)

SIZES: dict[str, Any] = {"sizes": (2, 32), "timed": (1, 64)}

MODELS = (
    ZooModel("unet", unet, image, UNET, BATCH, other=(3, 32), **SIZES),
    ZooModel("densenet", densenet, image, DENSENET, IMAGE, other=(3, 48), **SIZES),
)
