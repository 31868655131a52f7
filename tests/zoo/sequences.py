"""An LSTM classifier, and a transformer block with a mixture of experts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.model import Call, ZooModel, ids
from tests.zoo.prune import Coupled, Whole

VOCABULARY, CLASSES, WIDTH, EXPERTS, CHOSEN, HEADS = 101, 10, 32, 8, 2, 4


class LstmClassifier(nn.Module):
    """Token ids [batch, length] -> logits [batch, classes], by two LSTM layers and the mean over time."""

    def __init__(self, width: int):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, 2 * width, num_layers=2, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(2 * width, width), nn.Linear(width, CLASSES)

    def forward(self, input_ids: Tensor) -> Tensor:
        x, _ = self.lstm(self.embedding(input_ids))
        return self.fc2(torch.tanh(self.fc1(x.mean(1))))


class Experts(nn.Module):
    """All experts run on all tokens; each token takes the two that its router scores highest."""

    def __init__(self, width: int):
        super().__init__()
        self.router = nn.Linear(width, EXPERTS)
        self.experts = nn.ModuleList(
            nn.ModuleDict({"up": nn.Linear(width, 2 * width), "down": nn.Linear(2 * width, width)})
            for _ in range(EXPERTS)
        )

    def forward(self, x: Tensor) -> Tensor:
        probabilities = self.router(x).softmax(-1)
        best, chosen = probabilities.topk(CHOSEN, -1)
        weights = torch.zeros_like(probabilities).scatter(-1, chosen, best / best.sum(-1, keepdim=True))
        results = [
            expert["down"](F.gelu(expert["up"](x))) * weights[..., i : i + 1]
            for i, expert in enumerate(self.experts)
        ]
        return torch.stack(results).sum(0)


class MixtureBlock(nn.Module):
    """Token ids [batch, length] -> [batch, length, width]: attention, then experts, with residuals."""

    def __init__(self, width: int):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.mixture = Experts(width)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        h = self.norm1(x)
        q, k, v = (layer(h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mixture(self.norm2(x))


class LoopedExperts(nn.Module):
    """Tokens [batch, length, width] -> the same, by gated experts that a loop adds up, each weighted by its routes."""

    def __init__(self, width: int):
        super().__init__()
        self.router = nn.Linear(width, EXPERTS, bias=False)
        self.experts = nn.ModuleList(
            nn.ModuleDict({
                "gate": nn.Linear(width, 2 * width, bias=False),
                "up": nn.Linear(width, 2 * width, bias=False),
                "down": nn.Linear(2 * width, width, bias=False),
            })
            for _ in range(EXPERTS)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.router(x).softmax(-1).topk(CHOSEN, -1)
        weights = weights / weights.sum(-1, keepdim=True)
        result = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            share = (weights * (chosen == i)).sum(-1, keepdim=True)
            result = result + share * expert["down"](F.silu(expert["gate"](x)) * expert["up"](x))
        return result


def looped(scale: int) -> nn.Module:
    return LoopedExperts(WIDTH * scale)


def states(batch: int, length: int, width: int = WIDTH) -> Call:
    # As wide as the model is at scale 4 where it is timed.
    return (torch.randn(batch, length, width if length < 64 else 4 * width),), {}


def lstm(scale: int) -> nn.Module:
    return LstmClassifier(WIDTH * scale)


def mixture(scale: int) -> nn.Module:
    return MixtureBlock(WIDTH * scale)


def tokens(batch: int, length: int) -> Call:
    return (ids(batch, length, VOCABULARY),), {}


LSTM = (
    # Hidden units of the last layer: their rows in all four gates, and who reads them.
    Coupled(
        out=tuple(f"lstm.{name}_l1@0/4" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        into=("lstm.weight_hh_l1@1", "fc1"),
        units=64,
    ),
    Coupled(out=("fc1",), into=("fc2",)),
)

MIXTURE = (
    Coupled(out=("q", "k", "v"), into=("o",), units=HEADS),
    Coupled(out=("mixture.experts.*.up",), into=("mixture.experts.*.down",)),
    Whole("mixture.experts.*.down"),
)

LOOPED = (
    Coupled(out=("experts.*.gate", "experts.*.up"), into=("experts.*.down",)),
    Whole("experts.*.down"),
)

TOKENS = {"input_ids": {0: "batch", 1: "length"}}

MODELS = (
    # Tracing unrolls an LSTM over time, so its length is fixed.
    ZooModel("lstm", lstm, tokens, LSTM, {"input_ids": {0: "batch"}}, (2, 6), (3, 6), (1, 32)),
    ZooModel("mixture_of_experts", mixture, tokens, MIXTURE, TOKENS, (2, 12), (3, 17), (1, 128)),
    ZooModel(
        "looped_experts", looped, states, LOOPED, {"x": {0: "batch", 1: "length"}}, (2, 12), (3, 17), (1, 64)
    ),
)
