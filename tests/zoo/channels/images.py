"""Nets that give an image for an image: U-Nets, super-resolution, restoration, style."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.channels.layers import Conv, LayerNorm2d


class UNet(nn.Module):
    """Two steps down, two up by transposed convolutions, with skips."""

    def __init__(self) -> None:
        super().__init__()

        def double(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(Conv(a, b), Conv(b, b))

        self.a, self.b, self.c = double(3, 24), double(24, 48), double(48, 96)
        self.up1, self.up2 = nn.ConvTranspose2d(96, 48, 2, 2), nn.ConvTranspose2d(48, 24, 2, 2)
        self.d, self.e, self.out = double(96, 48), double(48, 24), nn.Conv2d(24, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        d = self.d(torch.cat((b, self.up1(c)), 1))
        return self.out(self.e(torch.cat((a, self.up2(d)), 1)))


def unet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return UNet(), (torch.randn(2, 3, 32, 32),)


class UNet3d(nn.Module):
    """The same in three dimensions, with instance norm and leaky ReLU, as nnU-Net has them."""

    def __init__(self) -> None:
        super().__init__()

        def layer(a: int, b: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv3d(a, b, 3, stride, 1), nn.InstanceNorm3d(b, affine=True), nn.LeakyReLU()
            )

        self.a, self.b = (
            nn.Sequential(layer(1, 16), layer(16, 16)),
            nn.Sequential(layer(16, 32, 2), layer(32, 32)),
        )
        self.c = nn.Sequential(nn.MaxPool3d(2), nn.Conv3d(32, 48, 3, 1, 1), nn.BatchNorm3d(48), nn.ReLU())
        self.up1, self.up2 = nn.ConvTranspose3d(48, 32, 2, 2), nn.ConvTranspose3d(32, 16, 2, 2)
        self.d, self.e, self.out = layer(64, 32), layer(32, 16), nn.Conv3d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        d = self.d(torch.cat((self.up1(self.c(b)), b), 1))
        return self.out(self.e(torch.cat((self.up2(d), a), 1)))


def unet_3d() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return UNet3d(), (torch.randn(2, 1, 16, 16, 16),)


class SuperResolution(nn.Module):
    """EDSR: residual blocks without norms, and PixelShuffle twice."""

    def __init__(self, width: int = 48):
        super().__init__()

        def block() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
            )

        self.head, self.blocks = nn.Conv2d(3, width, 3, 1, 1), nn.ModuleList(block() for _ in range(3))
        up = [
            m
            for _ in range(2)
            for m in (nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU(width))
        ]
        self.up, self.out = nn.Sequential(*up), nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.head(x)
        y = h
        for block in self.blocks:
            y = y + 0.5 * block(y)
        return self.out(self.up(h + y))


def super_resolution() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return SuperResolution(), (torch.randn(2, 3, 16, 16),)


class NAFBlock(nn.Module):
    """Depthwise convolution, a gate of two halves, channel attention; then a second gate. No other activation."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = LayerNorm2d(width), LayerNorm2d(width)
        self.conv1, self.conv2 = (
            nn.Conv2d(width, 2 * width, 1),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1, groups=2 * width),
        )
        self.attention, self.conv3 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.conv4, self.conv5 = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        self.beta, self.gamma = (nn.Parameter(torch.ones(1, width, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.conv2(self.conv1(self.norm1(x))).chunk(2, 1)
        h = left * right
        h = self.conv3(h * self.attention(F.adaptive_avg_pool2d(h, 1)))
        x = x + h * self.beta
        left, right = self.conv4(self.norm2(x)).chunk(2, 1)
        return x + self.conv5(left * right) * self.gamma


class NAFNet(nn.Module):
    """Blocks at two scales; PixelUnshuffle down, PixelShuffle up."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.intro, self.first, self.middle, self.last = (
            nn.Conv2d(3, width, 3, 1, 1), NAFBlock(width), NAFBlock(2 * width), NAFBlock(width)
        )  # fmt: skip
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * width, 2 * width, 1))
        self.up = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1, bias=False), nn.PixelShuffle(2))
        self.ending = nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(self.intro(x))
        return x + self.ending(self.last(first + self.up(self.middle(self.down(first)))))


def nafnet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return NAFNet(), (torch.randn(2, 3, 24, 24),)


class Style(nn.Module):
    """Style transfer: reflected borders, instance norm, residual blocks, scaling up by neighbours."""

    def __init__(self) -> None:
        super().__init__()

        def layer(a: int, b: int, kernel: int, stride: int = 1) -> list[nn.Module]:
            return [
                nn.ReflectionPad2d(kernel // 2),
                nn.Conv2d(a, b, kernel, stride),
                nn.InstanceNorm2d(b, affine=True),
            ]

        self.down = nn.Sequential(
            *layer(3, 24, 9), nn.ReLU(), *layer(24, 48, 3, 2), nn.ReLU(), *layer(48, 64, 3, 2), nn.ReLU()
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*layer(64, 64, 3), nn.ReLU(), *layer(64, 64, 3)) for _ in range(2)
        )
        self.up1, self.up2 = (
            nn.Sequential(*layer(64, 48, 3), nn.ReLU()),
            nn.Sequential(*layer(48, 24, 3), nn.ReLU()),
        )
        self.out = nn.Sequential(nn.ReflectionPad2d(4), nn.Conv2d(24, 3, 9))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        for block in self.blocks:
            x = x + block(x)
        for up in (self.up1, self.up2):
            x = up(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.out(x)


def style_transfer() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Style(), (torch.randn(2, 3, 32, 32),)
