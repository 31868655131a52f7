"""A small causal language model over the bytes of Python's standard library, trained here: 2,048 tokens at a time."""

import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.tasks.task import Split
from l0compile.tasks.trained_models import trained
from l0compile.tasks.training import Schedule

TOKENS, WIDTH, HEADS, LAYERS = 2048, 128, 4, 4
SCHEDULE = Schedule(1200, 2, 2e-3, warmup=60, weight_decay=0.05, embeddings=True)
# One file in this many is held out.
_HELD_OUT = 12
_LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "idle_test"}


@cache
def text(held_out: bool) -> Tensor:
    """The bytes of all files of one part, one after another, uint8."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = sorted(f for f in folder.rglob("*.py") if not _LEFT_OUT & set(f.relative_to(folder).parts))
    chosen = [file for i, file in enumerate(files) if (i % _HELD_OUT == 0) == held_out]
    return torch.frombuffer(bytearray(b"\n\n".join(f.read_bytes() for f in chosen)), dtype=torch.uint8)


def pieces(count: int, held_out: bool, seed: int = 0) -> Tensor:
    """``count`` pieces [count, TOKENS + 1] of the text, drawn at random, int64."""
    whole, generator = text(held_out), torch.Generator().manual_seed(seed)
    starts = torch.randint(0, len(whole) - TOKENS - 1, (count, 1), generator=generator)
    return whole[starts + torch.arange(TOKENS + 1)].long()


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        q, k = (t * cos + torch.cat([-t[..., 16:], t[..., :16]], -1) * sin for t in (q, k))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2))


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(WIDTH), _Attention()
        self.between = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.before(x), cos, sin)
        return x + self.down(F.gelu(self.up(self.between(x))))


class ByteLanguage(nn.Module):
    """Four layers of four heads: int64 [B, TOKENS] -> logits [B, TOKENS, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(256, WIDTH), nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, 256, bias=False)
        rates = 10_000.0 ** (-torch.arange(16) / 16)
        angles = torch.arange(TOKENS).unsqueeze(1) * torch.cat([rates, rates])
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.head(self.norm(x))


class ByteTask:
    """See ``Task``: next bytes. A batch is [B, TOKENS + 1]; the loss is in nats a byte."""

    quality_name, source = "minus nats a byte", "the standard library"

    def dense(self) -> nn.Module:
        """The trained model; the first call trains it, for a quarter of an hour or so."""
        return model()

    def example(self) -> tuple[Tensor, ...]:
        return (pieces(1, True)[:, :-1],)

    def workload(self) -> tuple[str, dict[str, Any]] | None:
        return None

    def dynamic_shapes(self) -> None:
        return None

    def calibration(self) -> Iterator[Tensor]:
        yield from pieces(8, False, seed=1).split(1)

    def batches(self, size: int, seed: int) -> Iterator[Tensor]:
        for step in range(10_000):
            yield pieces(size, False, seed * 10_000 + step)

    def predict(self, model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch[:, :-1]).flatten(0, 1)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return F.cross_entropy(self.predict(model, batch), batch[:, 1:].flatten())

    def quality(self, model: Callable[..., Tensor], part: Split) -> float:
        held_out = pieces(16, True, seed=7 if part == "validation" else 8)
        with torch.no_grad():
            losses = [
                F.cross_entropy(model(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten()) for b in held_out.split(1)
            ]
        return -float(torch.stack(losses).mean())


def model() -> nn.Module:
    """The trained model, in evaluation mode; the first call trains it and keeps it."""
    torch.manual_seed(0)
    facts = {"task": "bytes", "text": int(text(False).long().sum()), "sizes": [TOKENS, WIDTH, HEADS, LAYERS]}
    return trained(ByteTask(), ByteLanguage(), SCHEDULE, facts, told=print)
