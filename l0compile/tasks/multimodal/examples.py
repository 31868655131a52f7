"""Labelled examples of several modalities, and the task that they make."""

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.tasks.classification import Classification, Labelled, Part
from l0compile.tasks.multimodal.transformer import SharedTransformer
from l0compile.tasks.training import Schedule

# Examples of a batch that is evaluated.
_EVALUATED = 256


@dataclass(frozen=True)
class Examples:
    """inputs: a tensor [N, ...] per modality. labels: int64 [N]."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def rows(self, chosen: Tensor | slice) -> "Examples":
        """Return some examples."""
        return Examples(tuple(each[chosen] for each in self.inputs), self.labels[chosen])

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Labelled]:
        """Yield the examples in ``order`` (int64 [N]; default: as they are)."""
        for rows in (torch.arange(len(self.labels)) if order is None else order).split(size):
            yield Labelled(tuple(each[rows] for each in self.inputs), self.labels[rows])


class ModalityTask(Classification):
    """A `Classification` of examples of several modalities by a `SharedTransformer`.

    Options have modalities, batch, width, layers, heads, steps, train_batch, weight_rate and dropout.

    Attributes:
        modalities: names, in the order of the model's inputs.
    """

    representation = "representation"
    options: Any
    modalities: tuple[str, ...]

    @abstractmethod
    def load(self) -> Mapping[Part, Examples]:
        """Read the examples of each part."""

    @abstractmethod
    def token_modules(self) -> dict[str, nn.Module]:
        """Make the untrained module of each modality's tokens."""

    @functools.cached_property
    def parts(self) -> Mapping[Part, Examples]:
        """The examples of each part, read on first use."""
        return self.load()

    def build(self, seed: int) -> nn.Module:
        options = self.options
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SharedTransformer(
                self.token_modules(),
                len(self.classes),
                options.width,
                options.layers,
                options.heads,
                options.dropout,
            ).eval()

    def recipe(self, seed: int) -> Schedule:
        return Schedule(
            self.options.steps, self.options.train_batch, self.options.weight_rate, warmup=50, seed=seed,
            weight_decay=0.1, embeddings=True, average=0.98,
        )  # fmt: skip

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        train = self.parts["train"]
        order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(seed))
        yield from train.batches(size, order)

    def evaluation(self, part: Part) -> Iterator[Labelled]:
        yield from self.parts[part].batches(_EVALUATED)

    def example(self) -> tuple[Tensor, ...]:
        return self.parts["validation"].rows(slice(self.options.batch)).inputs

    def dynamic_shapes(self) -> Any:
        """Accept any number of examples."""
        return {"inputs": tuple({0: "batch"} for _ in self.modalities)}

    def facts(self) -> dict[str, Any]:
        options = dataclasses.asdict(self.options)
        del options["batch"]
        return options | {"examples": [len(part.labels) for part in self.parts.values()]}
