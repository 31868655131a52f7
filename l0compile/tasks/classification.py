"""Classification with labels: what the tasks for tables, text, graphs and several modalities have in common."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.tasks.task import Split
from l0compile.tasks.trained_models import trained
from l0compile.tasks.training import Schedule

Part = Literal["train", "validation", "held_out"]


@dataclass(frozen=True)
class Labelled:
    """Some examples with labels.

    inputs: the positional arguments of the model. labels: int64 [B]. rows: int64 [B], the rows of the model's output
    that the labels belong to; None if these are all of them, in order.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor
    rows: Tensor | None = None


class Classification(ABC):
    """A `Task` whose dense model is trained here, on labels, and judged by them. Batches are `Labelled`.

    The model returns logits, float32 [examples, classes]. One of its modules returns the vector that its last linear
    layer classifies, [..., width]: the place for a `Feature` gate in L0GM (arXiv 2603.26801).

    Attributes:
        name: of the task.
        source: where the data comes from, with its licence, in words.
        classes: names of the classes, by label.
        representation: name of the module that returns the classified vector.
        quality_name: ``"accuracy"``.
        gate_values: of open gates once they are constant, see `train_gated`. ``"binary"`` was better on validation data
            of every task tried: softer values shrink the logits.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    representation: str
    quality_name = "accuracy"
    gate_values: Literal["soft", "binary"] = "binary"

    @abstractmethod
    def build(self, seed: int) -> nn.Module:
        """Return a model that is not trained on this task, in evaluation mode; the same one for the same seed."""

    @abstractmethod
    def recipe(self, seed: int) -> Schedule:
        """Return the schedule that the dense model is trained under."""

    def gate_recipe(self, seed: int) -> Schedule:
        """Return the schedule of a training with gates that starts from the dense model: here half as long."""
        dense = self.recipe(seed)
        return replace(dense, steps=max(1, dense.steps // 2), weight_rate=dense.weight_rate / 2)

    @abstractmethod
    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        """Yield batches of about ``size`` examples: one shuffled pass over the training data."""

    @abstractmethod
    def evaluation(self, part: Part) -> Iterator[Labelled]:
        """Yield every example of a part once, in a fixed order."""

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Return positional inputs, at the size whose latency counts."""

    @abstractmethod
    def workload(self) -> tuple[str, dict[str, Any]] | None:
        """Say how another process makes (dense model, example), see `Task.workload`."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what the trained dense model depends on, as JSON values: options, data, size of the model."""

    def dynamic_shapes(self) -> Any:
        """Return the compile option for the sizes to accept at run time; here None, those of the example only."""
        return None

    def calibration(self) -> Iterator[Labelled]:
        """Yield the training examples in order."""
        yield from self.evaluation("train")

    def dense(self) -> nn.Module:
        """Return the dense model of seed 0, trained on first use and then read from the cache of trained models."""
        return self.train_dense(0)

    def train_dense(self, seed: int, told: Callable[[str], None] | None = None) -> nn.Module:
        """Return the dense model of a seed in evaluation mode; train it if the cache has none.

        Args:
            seed: of initial weights, order of batches and dropout.
            told: hears every ten seconds of loss and time left.
        """
        return trained(self, self.build(seed), self.recipe(seed), self.facts(), told)

    def predict(self, model: nn.Module, batch: Labelled) -> Tensor:
        """Return the logits of the labelled examples [B, classes]."""
        output: Tensor = model(*batch.inputs)
        return output if batch.rows is None else output[batch.rows]

    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        """Return the mean cross entropy."""
        return nn.functional.cross_entropy(self.predict(model, batch), batch.labels)

    def logits(self, model: Callable[..., Tensor], part: Part) -> Tensor:
        """Return the logits of every example of a part, float32 [N, classes], in the order of `labels`."""
        with torch.no_grad():
            found = [self.predict(model, batch) for batch in self.evaluation(part)]  # type: ignore[arg-type]
        return torch.cat(found).float()

    @functools.cache  # noqa: B019 (a task lives as long as its search)
    def labels(self, part: Part) -> Tensor:
        """Return the label of every example of a part, int64 [N]."""
        return torch.cat([batch.labels for batch in self.evaluation(part)])

    def quality(self, model: Callable[..., Tensor], part: Split) -> float:
        """Return the accuracy in [0, 1] on data that training never saw."""
        return float((self.logits(model, part).argmax(1) == self.labels(part)).double().mean())
