"""YOLO's parts (C2f, SPPF, C2PSA, Detect) and the recogniser CRNN."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.channels.layers import Conv


class Bottleneck(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, width: int, shortcut: bool):
        super().__init__()
        self.cv1, self.cv2, self.shortcut = (
            Conv(width, width, act=nn.SiLU),
            Conv(width, width, act=nn.SiLU),
            shortcut,
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """Half of the channels through a chain of bottlenecks; all steps are joined."""

    def __init__(self, inside: int, outside: int, n: int = 1, shortcut: bool = True):
        super().__init__()
        self.half = outside // 2
        self.cv1 = Conv(inside, 2 * self.half, 1, act=nn.SiLU)
        self.cv2 = Conv((2 + n) * self.half, outside, 1, act=nn.SiLU)
        self.m = nn.ModuleList(Bottleneck(self.half, shortcut) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        parts.extend(m(parts[-1]) for m in self.m)
        return self.cv2(torch.cat(parts, 1))


class SPPF(nn.Module):
    """Three maxima over growing windows, joined."""

    def __init__(self, width: int):
        super().__init__()
        self.cv1, self.cv2 = Conv(width, width // 2, 1, act=nn.SiLU), Conv(2 * width, width, 1, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.cv2(torch.cat(parts, 1))


class PSA(nn.Module):
    """Attention over places with one packed convolution for query, key and value, as in YOLO11."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.size, self.key = heads, width // heads, width // heads // 2
        self.qkv = Conv(width, width + 2 * self.key * heads, 1, act=nn.Identity)
        self.pe, self.proj = (
            Conv(width, width, 3, 1, width, nn.Identity),
            Conv(width, width, 1, act=nn.Identity),
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = self.heads, 2 * self.key + self.size
        qkv = self.qkv(x).flatten(2).unflatten(1, parts)
        q, k, v = qkv.split([self.key, self.key, self.size], 2)
        attention = ((q.transpose(-2, -1) @ k) * self.key**-0.5).softmax(-1)
        y = (v @ attention.transpose(-2, -1)).view(x.shape)
        return x + self.proj(y + self.pe(v.reshape(x.shape)))


class Detect(nn.Module):
    """Boxes as distributions over distances, and classes, at each scale."""

    def __init__(self, widths: tuple[int, ...], classes: int = 4, bins: int = 8):
        super().__init__()
        self.bins, self.classes = bins, classes
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(w, 32, act=nn.SiLU), Conv(32, 32, act=nn.SiLU), nn.Conv2d(32, 4 * bins, 1))
            for w in widths
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(w, 48, act=nn.SiLU), Conv(48, 48, act=nn.SiLU), nn.Conv2d(48, classes, 1))
            for w in widths
        )
        self.register_buffer("steps", torch.arange(float(bins)).view(1, bins, 1, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        both = [torch.cat((box(x), cls(x)), 1) for x, box, cls in zip(maps, self.cv2, self.cv3, strict=True)]
        joined = torch.cat([x.flatten(2) for x in both], 2)
        boxes, classes = joined.split((4 * self.bins, self.classes), 1)
        shares = boxes.unflatten(1, (4, self.bins)).transpose(1, 2).softmax(1)
        return torch.cat((F.conv2d(shares, self.steps).squeeze(1), classes.sigmoid()), 1)


class YOLO(nn.Module):
    """Backbone, a neck that goes up and down, and the head."""

    def __init__(self) -> None:
        super().__init__()
        act = nn.SiLU
        self.p3 = nn.Sequential(
            Conv(3, 32, 3, 2, act=act),
            Conv(32, 48, 3, 2, act=act),
            C2f(48, 48),
            Conv(48, 64, 3, 2, act=act),
            C2f(64, 64),
        )
        self.p4 = nn.Sequential(Conv(64, 96, 3, 2, act=act), C2f(96, 96), SPPF(96), PSA(96, 4))
        self.up, self.shrink, self.down = (
            C2f(160, 64, shortcut=False),
            Conv(64, 64, 3, 2, act=act),
            C2f(160, 96),
        )
        self.detect = Detect((64, 96))

    def forward(self, x: Tensor) -> Tensor:
        p3 = self.p3(x)
        p4 = self.p4(p3)
        n3 = self.up(torch.cat((F.interpolate(p4, scale_factor=2.0, mode="nearest"), p3), 1))
        return self.detect([n3, self.down(torch.cat((self.shrink(n3), p4), 1))])


def yolo() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return YOLO(), (torch.randn(2, 3, 64, 64),)


class CRNN(nn.Module):
    """Text in a picture: VGG layers, pools that keep the width, and a recurrent net over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(64, 96, 3, 1, 1), nn.BatchNorm2d(96), nn.ReLU(),
            nn.Conv2d(96, 96, 3, 1, 1), nn.ReLU(),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)), nn.Conv2d(96, 128, 3, 1, 1), nn.BatchNorm2d(128), nn.ReLU(),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)), nn.Conv2d(128, 128, 2), nn.ReLU(),
        )  # fmt: skip
        self.rnn, self.out = nn.LSTM(128, 32, bidirectional=True), nn.Linear(64, 11)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.stages(x).squeeze(2).permute(2, 0, 1)
        return self.out(self.rnn(columns)[0])


def crnn() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return CRNN(), (torch.randn(2, 1, 32, 64),)
