"""What a search needs to know about a model: the protocol that every task implements."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

from torch import Tensor, nn

Split = Literal["validation", "held_out"]


class Task(Protocol):
    """A dense model with data, a distillation loss and a measure of quality; `batch` is the task's own type.

    A class that implements it takes a frozen options dataclass (keyword `options`) and `text` (folder or None).
    """

    @property
    def quality_name(self) -> str:
        """What `quality` is, in a few words for tables; higher is better."""

    @property
    def source(self) -> str:
        """Where the data is from, in words."""

    def dense(self) -> nn.Module:
        """A new copy of the pretrained dense model, in evaluation mode."""

    def example(self) -> tuple[Tensor, ...]:
        """Positional inputs at the size whose latency counts."""

    def workload(self) -> tuple[str, dict[str, Any]] | None:
        """("package.module:function", JSON keyword arguments) making (dense model, example) in another process.

        None where no other process can make it.
        """

    def dynamic_shapes(self) -> Any:
        """The compile option: sizes that the compiled model is to accept at run time.

        None for those of the example only.
        """

    def calibration(self) -> Iterator[Any]:
        """Batches without padding, for activation statistics; the same ones on every call."""

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """One shuffled pass over the training data in batches of about `size` items."""

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """The model's output [items, width] for a batch, with gradient where enabled."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Scalar distance of `model` from the dense model on a batch, differentiable."""

    def quality(self, model: Callable[..., Tensor], part: Split) -> float:
        """How close `model`, called as the dense model is, comes to it on data that training never saw."""
