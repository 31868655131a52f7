"""A task that a whole search can be run on in seconds: a one-layer transformer over random tokens."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.tasks.registry import register_task
from l0compile.tasks.spearman import similarity_spearman
from l0compile.tasks.task import Split

VOCABULARY = 50


@dataclass(frozen=True)
class TinyOptions:
    """`tokens`: sequence length; `hidden`: feed-forward width."""

    tokens: int = 8
    hidden: int = 64


class TinyEncoder(nn.Module):
    """Pre-norm transformer layer, mean pooling: int64 [B, S] -> unit vectors [B, 32]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 32)
        self.first, self.second = nn.LayerNorm(32), nn.LayerNorm(32)
        self.query, self.key, self.value, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.up, self.down = nn.Linear(32, hidden), nn.Linear(hidden, 32)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        h = self.first(x)
        q, k, v = (
            layer(h).unflatten(-1, (2, 16)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        x = x + self.down(nn.functional.gelu(self.up(input=self.second(x))))
        return nn.functional.normalize(x.mean(1), dim=-1)


@register_task("tiny", TinyOptions)
class TinyTask:
    """See `Task`. A batch is a tensor of token ids."""

    quality_name = "Spearman"
    source = "random tokens"

    def __init__(self, options: TinyOptions, text: Path | None = None) -> None:
        self.options = options
        self.losses = 0

    def dense(self) -> nn.Module:
        torch.manual_seed(0)
        model = TinyEncoder(self.options.hidden).eval()
        return model

    def example(self) -> tuple[Tensor, ...]:
        return (self._ids(1, 0),)

    def workload(self) -> tuple[str, dict[str, Any]]:
        return "tiny_task:workload", {"tokens": self.options.tokens, "hidden": self.options.hidden}

    def dynamic_shapes(self) -> Any:
        return None

    def calibration(self) -> Iterator[Tensor]:
        yield from (self._ids(32, seed) for seed in range(1, 5))

    def batches(self, size: int, seed: int) -> Iterator[Tensor]:
        yield from (self._ids(size, 100 + 10 * seed + place) for place in range(10))

    def predict(self, model: nn.Module, batch: Tensor) -> Tensor:
        output: Tensor = model(batch)
        return output

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        self.losses += 1
        with torch.no_grad():
            wanted = self._teacher(batch)
        return (model(batch) - wanted).square().sum(1).mean()

    def quality(self, model: Callable[..., Tensor], part: Split) -> float:
        ids = self._ids(60, {"validation": 7777, "held_out": 8888}[part])
        with torch.no_grad():
            return similarity_spearman(model(ids), self._teacher(ids))

    @functools.cached_property
    def _teacher(self) -> nn.Module:
        return self.dense()

    def _ids(self, count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, VOCABULARY, (count, self.options.tokens), generator=generator)


def workload(tokens: int, hidden: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    task = TinyTask(TinyOptions(tokens, hidden))
    return task.dense(), task.example()


def student(task: TinyTask) -> nn.Module:
    """A model that has something to learn from the dense one."""
    model = task.dense()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    return model
