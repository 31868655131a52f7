"""MLP-Mixer, and FT-Transformer over the columns of a table."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.model import Call, ZooModel
from tests.zoo.prune import Coupled

CLASSES, IMAGE, PATCH, HEADS = 10, 32, 8, 4
NUMBERS, CATEGORIES = 7, (5, 3, 11)


class Mixer(nn.Module):
    """Images [batch, 3, side, side] -> logits [batch, classes]."""

    def __init__(self, side: int, width: int, depth: int):
        super().__init__()
        patches = (side // PATCH) ** 2
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "token1": nn.Linear(patches, 2 * patches),
                    "token2": nn.Linear(2 * patches, patches),
                    "norm2": nn.LayerNorm(width),
                    "channel1": nn.Linear(width, 2 * width),
                    "channel2": nn.Linear(2 * width, width),
                }
            )
            for _ in range(depth)
        )
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            h = layer["norm1"](x).transpose(1, 2)
            x = x + layer["token2"](F.gelu(layer["token1"](h))).transpose(1, 2)
            x = x + layer["channel2"](F.gelu(layer["channel1"](layer["norm2"](x))))
        return self.fc(self.norm(x).mean(1))


class TableTransformer(nn.Module):
    """Numbers [batch, 7] and category ids [batch, 3] -> logits [batch, classes].

    One token a column, and one more to read the result from.
    """

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.number_weight = nn.Parameter(torch.zeros(NUMBERS, width))
        self.number_bias = nn.Parameter(torch.zeros(NUMBERS, width))
        self.categories = nn.Embedding(sum(CATEGORIES), width)
        starts = torch.tensor([0, *CATEGORIES]).cumsum(0)[:-1]
        self.register_buffer("starts", starts)
        self.reader = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "attention": nn.MultiheadAttention(width, HEADS, batch_first=True),
                    "norm2": nn.LayerNorm(width),
                    "up": nn.Linear(width, 4 * width),
                    "down": nn.Linear(2 * width, width),
                }
            )
            for _ in range(depth)
        )
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        tokens = numbers.unsqueeze(-1) * self.number_weight + self.number_bias
        embedded = self.categories(categories + self.starts)
        x = torch.cat([self.reader.expand(numbers.shape[0], -1, -1), tokens, embedded], 1)
        for layer in self.layers:
            h = layer["norm1"](x)
            x = x + layer["attention"](h, h, h, need_weights=False)[0]
            x = x + layer["down"](F.glu(layer["up"](layer["norm2"](x))))
        return self.fc(F.relu(self.norm(x[:, 0])))


def mixer(scale: int) -> nn.Module:
    return Mixer(IMAGE * scale, 64 * scale, 2)


def ft_transformer(scale: int) -> nn.Module:
    return TableTransformer(32 * scale, 2)


def image(batch: int, extent: int) -> Call:
    """Pictures [batch, 3, extent, extent]."""
    return (torch.randn(batch, 3, extent, extent),), {}


def table(batch: int, extent: int) -> Call:
    """Rows of a table; the extent says nothing here."""
    ids = torch.stack([torch.randint(0, count, (batch,)) for count in CATEGORIES], 1)
    return (torch.randn(batch, NUMBERS), ids), {}


MIXER = (
    Coupled(out=("layers.*.token1",), into=("layers.*.token2",)),
    Coupled(out=("layers.*.channel1",), into=("layers.*.channel2",)),
)

FT_TRANSFORMER = (
    Coupled(
        out=("layers.*.attention.in_proj_weight@0/3", "layers.*.attention.in_proj_bias/3"),
        into=("layers.*.attention.out_proj",),
        units=HEADS,
    ),
    # The value and the gate of a GLU are the halves of one layer.
    Coupled(out=("layers.*.up/2",), into=("layers.*.down",), units=64),
)

MODELS = (
    ZooModel("mlp_mixer", mixer, image, MIXER, {"x": {0: "batch"}}, (2, IMAGE), (3, IMAGE), (1, 4 * IMAGE)),
    ZooModel(
        "ft_transformer", ft_transformer, table, FT_TRANSFORMER,
        {"numbers": {0: "batch"}, "categories": {0: "batch"}}, (2, 1), (5, 1), (32, 1),
    ),
)  # fmt: skip
