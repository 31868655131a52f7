"""Small nets of images, lines and volumes, one for each way in which their channels are coupled, for compaction."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .compaction_models import IMAGES, Build, Graph

C1, C2, C3 = nn.Conv1d, nn.Conv2d, nn.Conv3d


def prelu(g: Graph, x: Tensor) -> Tensor:
    """MTCNN: a slope for each channel."""
    return g.b(g.two(F.max_pool2d(g.one(g.a(x)), 3, 2, ceil_mode=True)))


def pooled(g: Graph, x: Tensor) -> Tensor:
    """CREPE: constants behind ReLU and batch norm meet a pool, a padding that is not even, and a convolution."""
    return g.b(F.pad(F.max_pool2d(g.norm(F.relu(g.a(x))), 2), (1, 2, 0, 1)))


def border(g: Graph, x: Tensor) -> Tensor:
    """Constants through a padded depthwise convolution differ by position, and go on to padded ones."""
    h = torch.sigmoid(g.depth(torch.sigmoid(g.a(x))))
    return g.b(h) + g.up(F.avg_pool2d(h, 3, 2, 1))


def reflected(g: Graph, x: Tensor) -> Tensor:
    """Style transfer: reflected borders and instance norm."""
    h = F.relu(g.norm(g.a(F.pad(x, (1, 1, 1, 1), mode="reflect"))))
    return g.b(F.pad(F.interpolate(h, scale_factor=2.0), (2, 2, 2, 2), mode="reflect"))


def line(g: Graph, x: Tensor) -> Tensor:
    """A vocoder: transposed and dilated convolutions of a line."""
    h = g.up(F.leaky_relu(g.a(x), 0.1))
    return g.c(h + g.b(F.leaky_relu(h, 0.1)))


def volume(g: Graph, x: Tensor) -> Tensor:
    """A U of volumes with instance norm and a transposed convolution."""
    a = F.leaky_relu(g.norm(g.a(x)))
    b = torch.sigmoid(g.b(F.max_pool3d(a, 2)))
    return g.c(torch.cat((g.up(b), a), 1))


def shuffled(g: Graph, x: Tensor) -> Tensor:
    """ShuffleNet: two groups of channels by turns; half of them pass."""
    h = F.relu(g.a(x))
    h = h.view(h.shape[0], 2, 4, 6, 6).transpose(1, 2).reshape(h.shape)
    left, right = h.chunk(2, 1)
    return g.c(torch.channel_shuffle(torch.cat((left, torch.sigmoid(g.b(right))), 1), 2))


def subpixels(g: Graph, x: Tensor) -> Tensor:
    """Super-resolution: pixels from channels, and channels from pixels."""
    return g.c(F.pixel_unshuffle(g.b(torch.sigmoid(F.pixel_shuffle(g.a(x), 2))), 2))


def extremes(g: Graph, x: Tensor) -> Tensor:
    """CBAM: mean, maximum and minimum of channels and of positions."""
    h = torch.sigmoid(g.a(x))
    h = h * torch.sigmoid(g.b(h.mean((2, 3), keepdim=True)) + g.b(h.amax((2, 3), keepdim=True)))
    return g.c(h) * torch.cat(
        (h.mean(1, keepdim=True), h.amax(1, keepdim=True), h.amin(1, keepdim=True)), 1
    ).mean(1, keepdim=True)


def coordinates(g: Graph, x: Tensor) -> Tensor:
    """Gates from the means of rows and columns, joined along the positions."""
    h = F.relu(g.a(x))
    both = torch.cat((h.mean(3, keepdim=True), h.mean(2, keepdim=True).transpose(2, 3)), 2)
    rows, columns = F.hardswish(g.b(both)).split(6, 2)
    return g.d(h * torch.sigmoid(g.c(rows)) * torch.sigmoid(g.c(columns.transpose(2, 3))))


def groups(g: Graph, x: Tensor) -> Tensor:
    """Group norm over groups of which some die whole."""
    return g.b(F.relu(g.norm(g.a(x))))


def carried(g: Graph, x: Tensor) -> Tensor:
    """Images of any size: one channel carries the constants of the others past the padding."""
    h = torch.sigmoid(g.a(x))
    return g.b(h) + g.c(F.relu(h - 0.25))


ANY_SIZE = {0: "batch", 2: "height", 3: "width"}

MODELS: dict[str, Build] = {
    "prelu": (lambda: Graph(prelu, a=C2(3, 8, 3), one=nn.PReLU(8), b=C2(8, 3, 1), two=nn.PReLU(8)), (2, 3, 8, 8),
              IMAGES),
    "pooled": (lambda: Graph(pooled, a=C2(3, 8, 3), norm=nn.BatchNorm2d(8), b=C2(8, 3, 3)), (2, 3, 8, 8), IMAGES),
    "border": (lambda: Graph(border, a=C2(3, 8, 1), depth=C2(8, 8, 3, padding=1, groups=8), b=C2(8, 4, 3, padding=1),
                             up=nn.ConvTranspose2d(8, 4, 2, stride=2)), (2, 3, 6, 6), IMAGES),
    "reflected": (lambda: Graph(reflected, a=C2(3, 8, 3), norm=nn.InstanceNorm2d(8, affine=True), b=C2(8, 3, 5)),
                  (2, 3, 6, 6), IMAGES),
    "line": (lambda: Graph(line, a=C1(3, 8, 3, padding=1), up=nn.ConvTranspose1d(8, 6, 4, 2, 1),
                           b=C1(6, 6, 3, padding=2, dilation=2), c=C1(6, 1, 3, padding=1)), (2, 3, 6), IMAGES),
    "volume": (lambda: Graph(volume, a=C3(3, 6, 3, padding=1), norm=nn.InstanceNorm3d(6, affine=True),
                             b=C3(6, 8, 3, padding=1), up=nn.ConvTranspose3d(8, 6, 2, 2),
                             c=C3(12, 2, 3, padding=1)), (2, 3, 4, 4, 4), IMAGES),
    "shuffled": (lambda: Graph(shuffled, a=C2(3, 8, 1), b=C2(4, 4, 3, padding=1), c=C2(8, 3, 3, padding=1)),
                 (2, 3, 6, 6), IMAGES),
    "subpixels": (lambda: Graph(subpixels, a=C2(3, 16, 3, padding=1), b=C2(4, 4, 3, padding=1),
                                c=C2(16, 3, 3, padding=1)), (2, 3, 4, 4), IMAGES),
    "extremes": (lambda: Graph(extremes, a=C2(3, 8, 3, padding=1), b=C2(8, 8, 1), c=C2(8, 3, 3, padding=1)),
                 (2, 3, 6, 6), IMAGES),
    "coordinates": (lambda: Graph(coordinates, a=C2(3, 8, 3, padding=1), b=C2(8, 6, 1), c=C2(6, 8, 1),
                                  d=C2(8, 3, 3, padding=1)), (2, 3, 6, 6), IMAGES),
    "groups": (lambda: Graph(groups, a=C2(3, 8, 3, padding=1), norm=nn.GroupNorm(4, 8), b=C2(8, 3, 3, padding=1)),
               (2, 3, 6, 6), IMAGES),
    "carried": (lambda: Graph(carried, a=C2(3, 8, 1), b=C2(8, 4, 3, padding=1), c=C2(8, 4, 3, padding=1)),
                (2, 3, 6, 6), ANY_SIZE),
}  # fmt: skip
