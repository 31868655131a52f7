"""Nets that classify, find and segment."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.channels.layers import Conv
from tests.zoo.convnets import resnet18 as resnet_of_scale


def resnet18() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return resnet_of_scale(3), (torch.randn(2, 3, 48, 48),)


class DenseLayer(nn.Module):
    """Batch norm and activation before each convolution; the result is joined to the input."""

    def __init__(self, inside: int, growth: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inside), nn.Conv2d(inside, 2 * growth, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat((x, y), 1)


def densenet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers: list[nn.Module] = [Conv(3, 32, 3, 2)]
    width = 32
    for _ in range(2):
        for _ in range(3):
            layers.append(DenseLayer(width, 24))
            width += 24
        layers += [
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width // 2, 1, bias=False),
            nn.AvgPool2d(2),
        ]
        width //= 2
    head = nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    return nn.Sequential(*layers, *head), (torch.randn(2, 3, 48, 48),)


class CBAM(nn.Module):
    """Attention over channels, from mean and maximum, then over places, from mean and maximum of the channels."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width))
        self.place = nn.Conv2d(2, 1, 7, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean, most = F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1)
        x = x * torch.sigmoid(self.mlp(mean) + self.mlp(most))[:, :, None, None]
        place = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        return x * torch.sigmoid(self.place(place))


def cbam() -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers: list[nn.Module] = [Conv(3, 32, 3, 2)]
    for inside, outside in ((32, 48), (48, 64), (64, 96)):
        layers += [Conv(inside, outside, 3, 2), CBAM(outside), Conv(outside, outside)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)
    return nn.Sequential(*layers, *head), (torch.randn(2, 3, 48, 48),)


class ONet(nn.Module):
    """The last net of MTCNN: a parameter of PReLU for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.face, self.box, self.marks = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)))
        x = self.prelu5(self.dense5(x.permute(0, 3, 2, 1).contiguous().flatten(1)))
        return F.softmax(self.face(x), 1), self.box(x), self.marks(x)


def onet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return ONet(), (torch.randn(8, 3, 48, 48),)


class SSD(nn.Module):
    """A VGG backbone with heads at three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleList()
        inside = 3
        for width in (32, 64, 96):
            pool = nn.MaxPool2d(2, ceil_mode=True)
            layers = (
                nn.Conv2d(inside, width, 3, 1, 1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, 1, 1),
                nn.ReLU(),
                pool,
            )
            self.backbone.append(nn.Sequential(*layers))
            inside = width
        self.extra = nn.Sequential(nn.Conv2d(96, 48, 1), nn.ReLU(), nn.Conv2d(48, 96, 3, 2, 1), nn.ReLU())
        self.boxes = nn.ModuleList(nn.Conv2d(width, 4 * 4, 3, 1, 1) for width in (64, 96, 96))
        self.classes = nn.ModuleList(nn.Conv2d(width, 4 * 5, 3, 1, 1) for width in (64, 96, 96))
        self.scale = nn.Parameter(torch.full((64,), 20.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = []
        for number, stage in enumerate(self.backbone):
            x = stage(x)
            if number == 1:
                norm = x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10
                features.append(x / norm * self.scale[None, :, None, None])
        features += [x, self.extra(x)]
        boxes, classes = (
            torch.cat(
                [head(f).permute(0, 2, 3, 1).flatten(1) for head, f in zip(heads, features, strict=True)], 1
            )
            for heads in (self.boxes, self.classes)
        )
        return boxes.unflatten(1, (-1, 4)), classes.unflatten(1, (-1, 5)).softmax(-1)


def ssd() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return SSD(), (torch.randn(2, 3, 48, 48),)


class Head(nn.Module):
    """A detection head with group norm, shared by three scales."""

    def __init__(self, width: int):
        super().__init__()
        layers = [
            m for _ in range(2) for m in (nn.Conv2d(width, width, 3, 1, 1), nn.GroupNorm(8, width), nn.ReLU())
        ]
        self.stem, self.lateral = nn.Sequential(Conv(3, 32, 3, 2), Conv(32, 64, 3, 2)), nn.ModuleList()
        self.down = nn.ModuleList(Conv(64, 64, 3, 2) for _ in range(2))
        self.lateral = nn.ModuleList(nn.Conv2d(64, width, 1) for _ in range(3))
        self.tower, self.out = nn.Sequential(*layers), nn.Conv2d(width, 9, 3, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.stem(x)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        return [self.out(self.tower(lateral(f))) for lateral, f in zip(self.lateral, maps, strict=True)]


def group_norm_head() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Head(64), (torch.randn(2, 3, 64, 64),)


class ASPP(nn.Module):
    """DeepLab's head: dilated convolutions and a pooled branch, joined, then scaled up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 32, 3, 2), Conv(32, 64, 3, 2), Conv(64, 64))
        self.branches = nn.ModuleList([Conv(64, 48, 1), *(Conv(64, 48, 3, dilation=d) for d in (2, 4))])
        self.pooled, self.mix, self.out = Conv(64, 48, 1), Conv(4 * 48, 64, 1), nn.Conv2d(64, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        f = self.stem(x)
        pooled = F.interpolate(self.pooled(F.adaptive_avg_pool2d(f, 1)), f.shape[2:], mode="bilinear")
        f = self.mix(torch.cat([*(branch(f) for branch in self.branches), pooled], 1))
        return F.interpolate(self.out(f), x.shape[2:], mode="bilinear")


def deeplab() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return ASPP(), (torch.randn(2, 3, 48, 48),)
