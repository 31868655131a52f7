"""MTCNN's ONet, and a detection head with group norms that three scales share."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.model import Call, ZooModel
from tests.zoo.prune import Coupled

CLASSES = 4


class ONet(nn.Module):
    """Faces [batch, 3, 48, 48] -> is it one, its box, five landmarks; 32 channels wide in the original."""

    def __init__(self, width: int):
        super().__init__()
        widths = (3, width, 2 * width, 2 * width, 4 * width)
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel) for i, kernel in enumerate((3, 3, 3, 2))
        )
        self.prelus = nn.ModuleList(nn.PReLU(channels) for channels in widths[1:])
        self.dense, self.prelu = nn.Linear(4 * width * 9, 8 * width), nn.PReLU(8 * width)
        self.face, self.box, self.landmarks = (nn.Linear(8 * width, n) for n in (2, 4, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        for i, (conv, prelu) in enumerate(zip(self.convs, self.prelus, strict=True)):
            x = prelu(conv(x))
            if i < 3:
                x = F.max_pool2d(x, 3 if i < 2 else 2, 2, ceil_mode=True)
        x = self.prelu(self.dense(x.permute(0, 3, 2, 1).flatten(1)))
        return self.face(x).softmax(1), self.box(x), self.landmarks(x)


class SharedHead(nn.Module):
    """Three maps [batch, width, side, side], each half as large as the last -> classes and boxes at every place."""

    def __init__(self, width: int, depth: int = 3):
        super().__init__()
        self.classes, self.boxes = (
            nn.ModuleList(
                nn.ModuleDict(
                    {
                        "conv": nn.Conv2d(width, width, 3, padding=1, bias=False),
                        "norm": nn.GroupNorm(8, width),
                    }
                )
                for _ in range(depth)
            )
            for _ in range(2)
        )
        self.classify = nn.Conv2d(width, CLASSES, 3, padding=1)
        self.regress, self.centre = nn.Conv2d(width, 4, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(3))

    def forward(self, large: Tensor, middle: Tensor, small: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for level, x in enumerate((large, middle, small)):
            c, b = x, x
            for layer in self.classes:
                c = F.relu(layer["norm"](layer["conv"](c)))
            for layer in self.boxes:
                b = F.relu(layer["norm"](layer["conv"](b)))
            box = F.relu(self.regress(b) * self.scales[level])
            found.append((self.classify(c).flatten(2), box.flatten(2), self.centre(b).flatten(2)))
        classes, boxes, centres = (torch.cat(parts, 2).transpose(1, 2) for parts in zip(*found, strict=True))
        return classes.sigmoid(), boxes, centres.sigmoid()


def onet(scale: int) -> nn.Module:
    return ONet(8 * scale)


def head(scale: int) -> nn.Module:
    return SharedHead(16 * scale)


def faces(batch: int, side: int) -> Call:
    return (torch.randn(batch, 3, side, side),), {}


def pyramid(batch: int, side: int) -> Call:
    width = 16 if side <= 16 else 64  # as wide as the model is at the two scales
    return tuple(torch.randn(batch, width, side >> level, side >> level) for level in range(3)), {}


BATCH: dict[str, Any] = {"x": {0: "batch"}}

ONET = (
    *(Coupled(out=(f"convs.{i}",), into=(f"convs.{i + 1}",)) for i in range(3)),
    Coupled(out=("dense",), into=("face", "box", "landmarks")),
)

HEAD = (Coupled(out=("classes.2.conv",), into=("classify",), norms=("classes.2.norm",)),)

MODELS = (
    ZooModel("onet", onet, faces, ONET, BATCH, (2, 48), (3, 48), (8, 48)),
    ZooModel("shared_head", head, pyramid, HEAD, None, (2, 16), None, (1, 32)),
)
