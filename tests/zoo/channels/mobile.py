"""Nets for phones: channel shuffle, ghost features, squeeze and excitation, coordinate attention, depthwise stacks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.channels.layers import Conv, Excite
from tests.zoo.mobile_nets import MobileNet


class Shuffle(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, the others go through three convolutions, and both mix."""

    def __init__(self, inside: int, outside: int, stride: int):
        super().__init__()
        half, self.stride = outside // 2, stride
        read = inside if stride > 1 else half
        self.left = nn.Sequential(
            Conv(inside, inside, 3, 2, inside, nn.Identity), Conv(inside, half, 1)
        ) if stride > 1 else nn.Identity()  # fmt: skip
        self.right = nn.Sequential(
            Conv(read, half, 1), Conv(half, half, 3, stride, half, nn.Identity), Conv(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.stride == 1 else (x, x)
        x = torch.cat((self.left(left), self.right(right)), 1)
        batch, channels, height, width = x.shape
        return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


def shufflenet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    units = (
        Shuffle(24, 64, 2),
        Shuffle(64, 64, 1),
        Shuffle(64, 64, 1),
        Shuffle(64, 128, 2),
        Shuffle(128, 128, 1),
    )
    head = Conv(128, 160, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 10)
    stem = Conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*stem, *units, *head), (torch.randn(2, 3, 64, 64),)


class Ghost(nn.Module):
    """Half of the channels by a convolution, the other half cheaply from them."""

    def __init__(self, inside: int, outside: int, act: type[nn.Module] = nn.ReLU):
        super().__init__()
        half = outside // 2
        self.primary, self.cheap = Conv(inside, half, 1, act=act), Conv(half, half, 3, 1, half, act=act)

    def forward(self, x: Tensor) -> Tensor:
        first = self.primary(x)
        return torch.cat((first, self.cheap(first)), 1)


class GhostBottleneck(nn.Module):
    """Ghost up, depthwise where the image shrinks, excitation, ghost down, shortcut."""

    def __init__(self, inside: int, inner: int, outside: int, stride: int):
        super().__init__()
        self.up, self.down = Ghost(inside, inner), Ghost(inner, outside, nn.Identity)
        self.depthwise = Conv(inner, inner, 3, 2, inner, nn.Identity) if stride > 1 else nn.Identity()
        self.excite = Excite(inner, inner // 4, nn.Hardsigmoid)
        self.shortcut = nn.Identity() if inside == outside and stride == 1 else nn.Sequential(
            Conv(inside, inside, 3, stride, inside, nn.Identity), Conv(inside, outside, 1, act=nn.Identity)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.excite(self.depthwise(self.up(x)))) + self.shortcut(x)


def ghostnet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    units = GhostBottleneck(32, 64, 48, 2), GhostBottleneck(48, 96, 48, 1), GhostBottleneck(48, 128, 80, 2)
    head = Conv(80, 160, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 10)
    return nn.Sequential(Conv(3, 32, 3, 2), *units, *head), (torch.randn(2, 3, 48, 48),)


class InvertedV3(nn.Module):
    """MobileNetV3's block: 1x1 up, depthwise, excitation before the activation, 1x1 down."""

    def __init__(self, inside: int, inner: int, outside: int, kernel: int, stride: int, act: type[nn.Module]):
        super().__init__()
        self.up, self.depthwise = (
            Conv(inside, inner, 1, act=act),
            Conv(inner, inner, kernel, stride, inner, nn.Identity),
        )
        self.excite, self.act = Excite(inner, inner // 4, nn.Hardsigmoid), act()
        self.down, self.residual = Conv(inner, outside, 1, act=nn.Identity), inside == outside and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(self.act(self.excite(self.depthwise(self.up(x)))))
        return x + y if self.residual else y


def mobilenet_v3() -> tuple[nn.Module, tuple[Tensor, ...]]:
    units = (
        InvertedV3(32, 64, 32, 3, 1, nn.ReLU), InvertedV3(32, 96, 48, 3, 2, nn.ReLU),
        InvertedV3(48, 144, 48, 5, 1, nn.Hardswish), InvertedV3(48, 160, 64, 5, 2, nn.Hardswish),
    )  # fmt: skip
    head = Conv(64, 160, 1, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 128)
    tail = nn.Hardswish(), nn.Linear(128, 10)
    return nn.Sequential(Conv(3, 32, 3, 2, act=nn.Hardswish), *units, *head, *tail), (
        torch.randn(2, 3, 48, 48),
    )


class CoordinateAttention(nn.Module):
    """Gates along height and width from the means of rows and columns, through one convolution for both."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.mix = Conv(width, inner, 1, act=nn.Hardswish)
        self.rows, self.columns = nn.Conv2d(inner, width, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = F.adaptive_avg_pool2d(x, (height, 1)), F.adaptive_avg_pool2d(x, (1, width))
        mixed = self.mix(torch.cat((rows, columns.permute(0, 1, 3, 2)), 2))
        rows, columns = torch.split(mixed, (height, width), 2)
        return x * self.rows(rows).sigmoid() * self.columns(columns.permute(0, 1, 3, 2)).sigmoid()


def coordinate_attention() -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers = [Conv(3, 32, 3, 2)]
    for inside, outside in ((32, 48), (48, 64), (64, 96)):
        layers += [Conv(inside, outside, 3, 2), CoordinateAttention(outside, 16), Conv(outside, outside)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)
    return nn.Sequential(*layers, *head), (torch.randn(2, 3, 64, 64),)


def depthwise_stack() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """MobileNetV1: depthwise and 1x1 convolutions by turns."""
    layers: list[nn.Module] = [Conv(3, 32, 3, 2)]
    for inside, outside, stride in ((32, 64, 1), (64, 96, 2), (96, 96, 1), (96, 128, 2), (128, 128, 1)):
        layers += [Conv(inside, inside, 3, stride, inside), Conv(inside, outside, 1)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)
    return nn.Sequential(*layers, *head), (torch.randn(2, 3, 48, 48),)


def efficientnet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return MobileNet(24, (3, 5, 3, 5, 3), True), (torch.randn(2, 3, 48, 48),)
