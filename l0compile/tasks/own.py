"""A task from your own training loop: a model, a training step and a score, in plain PyTorch."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from l0compile.errors import DataError
from l0compile.tasks.task import Split

Args = tuple[Tensor, ...]


class OwnTask:
    """A `Task` made of your own model, training step and score.

    A calibration batch is a tuple of arguments. A training batch is None, because the step brings its own data.

    Args:
        model: dense and trained; it is copied, never changed.
        args: positional example inputs, at the size whose latency counts.
        train_step: takes a model and returns its loss on the next batch, a scalar to call ``backward`` on.
        evaluate: takes a model in evaluation mode and returns its quality; higher is better.
        calibration: tuples of arguments like ``args``, without padding; default: ``args`` alone, which is little data.
        dynamic_shapes: as in ``compile``.

    Raises:
        DataError: ``calibration`` is empty.

    maker: the result of `workload`, if a function that other processes can call has made the task.
    """

    quality_name = "quality"
    source = "the caller's own data"
    maker: tuple[str, dict[str, Any]] | None = None

    def __init__(
        self,
        model: nn.Module,
        args: Args,
        train_step: Callable[[nn.Module], Tensor],
        evaluate: Callable[[nn.Module], float],
        calibration: Sequence[Args] | None = None,
        dynamic_shapes: Any = None,
    ) -> None:
        self._model, self._args, self._shapes = copy.deepcopy(model).eval(), args, dynamic_shapes
        self._train_step, self._evaluate = train_step, evaluate
        self._calibration = [args] if calibration is None else list(calibration)
        if not self._calibration:
            raise DataError("search: calibration: expected at least one tuple of arguments, got none")

    def dense(self) -> nn.Module:
        return copy.deepcopy(self._model)

    def example(self) -> Args:
        return self._args

    def workload(self) -> tuple[str, dict[str, Any]] | None:
        return self.maker

    def dynamic_shapes(self) -> Any:
        return self._shapes

    def calibration(self) -> Iterator[Args]:
        yield from self._calibration

    def batches(self, size: int, seed: int) -> Iterator[None]:
        torch.manual_seed(seed)
        while True:
            yield None

    def predict(self, model: nn.Module, batch: Args) -> Tensor:
        leaves = [leaf for leaf in pytree.tree_leaves(model(*batch)) if isinstance(leaf, Tensor)]
        floating = [leaf.flatten(1) for leaf in leaves if leaf.is_floating_point()]
        if not floating:
            raise DataError(
                "search: expected a model that returns a tensor of floating-point numbers, got no such tensor"
            )
        return torch.cat(floating, 1)

    def loss(self, model: nn.Module, batch: None) -> Tensor:
        return self._train_step(model)

    def quality(self, model: Callable[..., Any], part: Split) -> float:
        with torch.no_grad():
            return float(self._evaluate(model))  # type: ignore[arg-type]
