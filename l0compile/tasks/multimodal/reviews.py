"""The task "reviews": is a piece of clothing recommended, from the text of a review, a table and a rating."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.tasks.classification import Labelled, Part
from l0compile.tasks.multimodal.examples import Examples, ModalityTask
from l0compile.tasks.multimodal.reviews_data import SOURCE, TABLE, ClothingReview, find_reviews, read_reviews
from l0compile.tasks.multimodal.transformer import IdTokens
from l0compile.tasks.multimodal.words import Columns, Words
from l0compile.tasks.registry import make_task, register_task, task_options

ReviewModality = Literal["text", "table", "rating"]
RATINGS = 5


@dataclass(frozen=True)
class ReviewsOptions:
    """Options of the task.

    modalities: what the model reads. The rating says most of the label (4 or 5 stars: recommended, right for 93.6 % of
    all reviews); without it the model has to understand the text. batch: the examples of the input whose latency
    counts. words: a review is cut there. vocabulary: how many words have an id. width, layers, heads: of the
    transformer. steps, train_batch, weight_rate, dropout: of the dense model's training. calibration: the examples
    that prune and solve least squares.
    """

    modalities: tuple[ReviewModality, ...] = ("text", "table", "rating")
    batch: int = 32
    words: int = 48
    vocabulary: int = 8192
    width: int = 64
    layers: int = 2
    heads: int = 4
    steps: int = 500
    train_batch: int = 128
    weight_rate: float = 2e-3
    dropout: float = 0.2
    calibration: int = 2048

    def __post_init__(self) -> None:
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ConfigError(f"modalities: expected at least one, each once, got {list(self.modalities)}")
        for name, least, most in (
            ("batch", 1, 1024), ("words", 4, 512), ("vocabulary", 3, 100_000), ("width", 8, 1024), ("layers", 1, 24),
            ("heads", 1, 64), ("steps", 0, 1_000_000), ("train_batch", 2, 4096), ("calibration", 16, 1_000_000),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name}: expected {least} to {most}, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"heads: expected a divisor of the width {self.width}, got {self.heads}")
        if not (0 < self.weight_rate <= 1 and 0 <= self.dropout < 1):
            raise ConfigError(
                f"weight_rate, dropout: expected (0, 1] and [0, 1), got {self.weight_rate}, {self.dropout}"
            )


@register_task("reviews", ReviewsOptions)
class ReviewsTask(ModalityTask):
    """The `Task` of the women's clothing reviews."""

    name = "reviews"
    source = SOURCE
    classes = ("not recommended", "recommended")
    options: ReviewsOptions

    def __init__(self, options: ReviewsOptions, text: Path | None = None) -> None:
        if text is not None:
            raise ConfigError("task: reviews brings its own data; leave --text out")
        self.options, self.modalities = options, options.modalities
        self._file = find_reviews()

    def load(self) -> Mapping[Part, Examples]:
        return {part: self.encode(reviews) for part, reviews in self._reviews.items()}

    def encode(self, reviews: list[ClothingReview]) -> Examples:
        """Return reviews as the model reads them."""
        inputs: dict[str, Tensor] = {}
        if "text" in self.modalities:
            inputs["text"] = self._words.encode([each.text for each in reviews], self.options.words)
        if "table" in self.modalities:
            inputs["table"] = self._columns.encode([each.table for each in reviews])
        inputs["rating"] = torch.tensor([[each.rating - 1] for each in reviews])
        labels = torch.tensor([each.label for each in reviews])
        return Examples(tuple(inputs[name] for name in self.modalities), labels)

    def token_modules(self) -> dict[str, nn.Module]:
        width = self.options.width
        made: dict[str, nn.Module] = {}
        for name in self.modalities:
            if name == "text":
                made[name] = IdTokens(self.options.vocabulary, self.options.words, width, padded=True)
            elif name == "table":
                made[name] = IdTokens(self._columns.size, len(TABLE), width, padded=False)
            else:
                made[name] = IdTokens(RATINGS, 1, width, padded=False)
        return made

    def calibration(self) -> Iterator[Labelled]:
        """Yield training examples in batches of texts of one length, without padding."""
        chosen = self.parts["train"].rows(slice(self.options.calibration))
        if "text" not in self.modalities:
            yield from chosen.batches(32)
            return
        place = self.modalities.index("text")
        lengths = (chosen.inputs[place] != 0).sum(1)
        for length in lengths.unique().tolist():
            for batch in chosen.rows(lengths == length).batches(32):
                inputs = list(batch.inputs)
                inputs[place] = inputs[place][:, :length]
                yield Labelled(tuple(inputs), batch.labels)

    def facts(self) -> dict[str, Any]:
        digest = hashlib.sha256(self._file.read_bytes()).hexdigest()[:16]
        return {"task": self.name, "data": digest} | super().facts()

    def workload(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}:dense_workload", {"options": dataclasses.asdict(self.options)}

    @functools.cached_property
    def _reviews(self) -> Mapping[Part, list[ClothingReview]]:
        return read_reviews(self._file)

    @functools.cached_property
    def _words(self) -> Words:
        return Words.of((each.text for each in self._reviews["train"]), self.options.vocabulary)

    @functools.cached_property
    def _columns(self) -> Columns:
        return Columns.of([each.table for each in self._reviews["train"]])


def dense_workload(options: Mapping[str, Any]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return, in another process, the dense model and the example whose latency counts."""
    task = make_task("reviews", task_options("reviews", options))
    return task.dense(), task.example()
