"""ResNet-18 and ResNet-50: the full block structure at a reduced width."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.model import Call, ZooModel
from tests.zoo.prune import Coupled

CLASSES = 10


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut = shortcut(inside, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up by four, and a shortcut."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        outside = width * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outside, 1, bias=False), nn.BatchNorm2d(outside)
        self.shortcut = shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(h)) + self.shortcut(x))


def shortcut(inside: int, outside: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 convolution with a norm where the shape changes."""
    if inside == outside and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


class ResNet(nn.Module):
    """Images [batch, 3, height, width] -> logits [batch, classes]."""

    def __init__(self, block: type[Basic] | type[Bottleneck], depths: tuple[int, ...], width: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.stages = nn.ModuleList()
        inside = width
        for number, depth in enumerate(depths):
            layers: list[nn.Module] = []
            for layer in range(depth):
                stride = 2 if number and not layer else 1
                layers.append(block(inside, width << number, stride))
                inside = (width << number) * block.expansion
            self.stages.append(nn.Sequential(*layers))
        self.fc = nn.Linear(inside, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet18(scale: int) -> nn.Module:
    return ResNet(Basic, (2, 2, 2, 2), 8 * scale)


def resnet50(scale: int) -> nn.Module:
    return ResNet(Bottleneck, (3, 4, 6, 3), 8 * scale)


def image(batch: int, extent: int) -> Call:
    """Pictures [batch, 3, extent, extent]."""
    return (torch.randn(batch, 3, extent, extent),), {}


# Inside the blocks of all stages, and the residual channels of the last stage with all that write them.
RESNET18 = (
    Coupled(out=("stages.*.*.conv1",), into=("stages.*.*.conv2",), norms=("stages.*.*.bn1",)),
    Coupled(
        out=("stages.3.*.conv2", "stages.3.0.shortcut.0", "stages.3.*.bn2", "stages.3.0.shortcut.1"),
        into=("stages.3.1.conv1", "fc"),
        together=True,
    ),
)

RESNET50 = (
    Coupled(out=("stages.*.*.conv1",), norms=("stages.*.*.bn1",)),
    Coupled(out=("stages.*.*.conv2",), into=("stages.*.*.conv3",), norms=("stages.*.*.bn2",)),
)

# The size of the image is symbolic for ResNet-18, and fixed for ResNet-50.
BATCH = {"x": {0: "batch"}}
IMAGE = {"x": {0: "batch", 2: "height", 3: "width"}}
SIZES: dict[str, Any] = {"sizes": (2, 64), "timed": (1, 128)}

MODELS = (
    ZooModel("resnet18", resnet18, image, RESNET18, IMAGE, other=(3, 96), **SIZES),
    ZooModel("resnet50", resnet50, image, RESNET50, BATCH, other=(3, 64), **SIZES),
)
