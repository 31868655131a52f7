"""The protocol of a task: what a search needs to know about a model."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

from torch import Tensor, nn

Split = Literal["validation", "held_out"]


class Task(Protocol):
    """A dense model with its data, a loss and a measure of quality. A batch is of the task's own type.

    A registered class takes a frozen options dataclass (keyword ``options``) and ``text`` (a folder or None).
    """

    @property
    def quality_name(self) -> str:
        """The name of the quality, in a few words for tables; higher is better."""

    @property
    def source(self) -> str:
        """Where the data comes from, in words."""

    def dense(self) -> nn.Module:
        """Return a new copy of the pretrained dense model, in evaluation mode."""

    def example(self) -> tuple[Tensor, ...]:
        """Return positional inputs, at the size whose latency counts."""

    def workload(self) -> tuple[str, dict[str, Any]] | None:
        """Say how another process makes (dense model, example): "package.module:function" and JSON arguments.

        None if no other process can.
        """

    def dynamic_shapes(self) -> Any:
        """Return the compile option for the sizes to accept at run time; None for those of the example only."""

    def calibration(self) -> Iterator[Any]:
        """Yield batches without padding for statistics, the same ones on every call."""

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """Yield batches of about ``size`` items: one shuffled pass over the training data."""

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the model's output [items, width] for a batch, with gradient if enabled."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the scalar, differentiable distance of ``model`` from the dense model on a batch."""

    def quality(self, model: Callable[..., Tensor], part: Split) -> float:
        """Return how close ``model`` comes to the dense model on data that training never saw."""
