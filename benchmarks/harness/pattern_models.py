"""The two models whose heads get patterns: MiniLM over long reviews, and a causal model over bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness import byte_language
from l0compile.attention.assignment.kinds import head_patterns
from l0compile.tasks.embedding import encode, load_encoder
from l0compile.tasks.imdb.files import load_reviews

TOKENS = 512
Parts = tuple[Any, ...]

_WINDOWS = {"kind": "sliding-window", "causal": False, "window": [32, 64, 128, 192, 256]}
_CLASS = {"kind": "longformer", "attention_window": [32, 64, 128, 192]}
_DILATED = {"kind": "dilated", "kernel_size": [33, 65], "dilation": 4}
_CAUSAL = {"kind": "sliding-window", "window": [64, 128, 256, 512, 1024]}
_SINKS = {"kind": "streaming-llm", "start_size": 16, "recent_size": [112, 240, 496, 1008]}
_STRIDED = {"kind": "strided", "stride": [64, 128]}


class _Pooled(nn.Module):
    """MiniLM without padding: int64 [B, S] -> embeddings [B, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = load_encoder().bert

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.normalize(self.bert(input_ids=ids).last_hidden_state.mean(1), dim=-1)


def minilm() -> Parts:
    """MiniLM over the first 512 tokens of reviews that have as many."""
    model = _Pooled().eval()
    reviews = _long_reviews(44)
    calibration, held_out = reviews[:12], reviews[12:]
    with torch.no_grad():
        wanted = torch.cat([model(ids) for ids in held_out])

    def loss(other: nn.Module) -> float:
        with torch.no_grad():
            return 1.0 - float((torch.cat([other(ids) for ids in held_out]) * wanted).sum(1).mean())

    candidates = head_patterns([_WINDOWS, _CLASS, _DILATED], "minilm")
    return model, (held_out[0],), candidates, calibration, lambda model, ids: model(ids), loss


def _long_reviews(count: int) -> Sequence[Tensor]:
    """The first ``count`` test reviews of ``TOKENS`` tokens or more, cut there, each [1, TOKENS]."""
    texts = [review.text for review in load_reviews().held_out if len(review.text) > 6 * TOKENS]
    ids = [row for row in encode(texts[: 2 * count], max_tokens=TOKENS).ids if len(row) == TOKENS]
    return [torch.tensor(row).unsqueeze(0) for row in ids[:count]]


def bytes_model() -> Parts:
    """The causal model over bytes. Its output is the probability of the next byte, in a form whose change is small in
    squares where the divergence of the distributions is."""
    task = byte_language.ByteTask()
    model = task.dense()
    dense = task.quality(model, "held_out")

    def predict(model: nn.Module, batch: Tensor) -> Tensor:
        return (2 * task.predict(model, batch).softmax(-1)).sqrt()

    candidates = head_patterns([_CAUSAL, _SINKS, _STRIDED], "bytes")
    held_out = lambda other: dense - task.quality(other, "held_out")  # noqa: E731
    return model, task.example(), candidates, list(task.calibration()), predict, held_out


MODELS: dict[str, Callable[[], Parts]] = {"bytes": bytes_model, "minilm": minilm}
