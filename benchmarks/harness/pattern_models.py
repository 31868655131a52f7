"""The two models whose heads get patterns: MiniLM over long reviews, and a causal model over bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness import byte_language
from l0compile.attention.assignment.kinds import head_patterns
from l0compile.tasks.embedding import encode, load_encoder
from l0compile.tasks.imdb.files import load_reviews
from l0compile.tasks.task import Split

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
    reviews = _long_reviews(56)
    calibration, validation, held_out = reviews[:16], reviews[16:24], reviews[24:]

    def loss_on(part: Sequence[Tensor]) -> Callable[[nn.Module], float]:
        with torch.no_grad():
            wanted = torch.cat([model(ids) for ids in part])

        def loss(other: nn.Module) -> float:
            with torch.no_grad():
                return 1.0 - float((torch.cat([other(ids) for ids in part]) * wanted).sum(1).mean())

        return loss

    candidates = head_patterns([_WINDOWS, _CLASS, _DILATED], "minilm")
    example, losses = (held_out[0],), (loss_on(held_out), loss_on(validation))
    return model, example, candidates, calibration, lambda model, ids: model(ids), *losses


def _long_reviews(count: int) -> Sequence[Tensor]:
    """The first ``count`` test reviews of ``TOKENS`` tokens or more, cut there, each [1, TOKENS]."""
    texts = [review.text for review in load_reviews().held_out if len(review.text) > 6 * TOKENS]
    ids = [row for row in encode(texts[: 2 * count], max_tokens=TOKENS).ids if len(row) == TOKENS]
    return [torch.tensor(row).unsqueeze(0) for row in ids[:count]]


def bytes_model() -> Parts:
    """The causal model over bytes."""
    task = byte_language.ByteTask()
    model = task.dense()
    dense = {part: task.quality(model, part) for part in ("held_out", "validation")}

    def loss_on(part: Split) -> Callable[[nn.Module], float]:
        return lambda other: dense[part] - task.quality(other, part)

    candidates = head_patterns([_CAUSAL, _SINKS, _STRIDED], "bytes")
    losses = loss_on("held_out"), loss_on("validation")
    return model, task.example(), candidates, list(task.calibration()), task.predict, *losses


MODELS: dict[str, Callable[[], Parts]] = {"bytes": bytes_model, "minilm": minilm}
