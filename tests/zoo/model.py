"""What the zoo knows about one model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.zoo.prune import Group

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class ZooModel:
    """A model with random weights, inputs for it, and which of its channels die together.

    Attributes:
        name: what tests and tables call it.
        make: ``make(scale)``: the model; ``scale`` multiplies its widths. 1 is for tests, 4 and more for timing.
        call: ``call(batch, extent)``: positional and keyword inputs of that size.
        groups: the groups of channels that structured pruning removes.
        dynamic_shapes: for ``l0.compile``; None where every size is fixed.
        sizes: (batch, extent) to compile at. The extent is tokens, pixels along a side, or nodes of a graph.
        other: another (batch, extent) that the compiled model must serve, None where every size is fixed.
        timed: (batch, extent) for timing, at scale 4.
    """

    name: str
    make: Callable[[int], nn.Module]
    call: Callable[[int, int], Call]
    groups: tuple[Group, ...]
    dynamic_shapes: Mapping[str, Any] | None
    sizes: tuple[int, int]
    other: tuple[int, int] | None
    timed: tuple[int, int]

    def build(self, scale: int = 1) -> nn.Module:
        """The model in eval mode, the same weights each time."""
        torch.manual_seed(0)
        return randomise(self.make(scale)).eval().requires_grad_(False)

    def inputs(self, sizes: tuple[int, int] | None = None) -> Call:
        """Inputs of ``sizes`` (default: those to compile at), the same each time."""
        torch.manual_seed(1)
        return self.call(*(sizes or self.sizes))


def randomise(model: nn.Module) -> nn.Module:
    """Weights that keep activations near 1, and norms, biases and running statistics as training leaves them.

    Fresh modules have biases of zero and norms of one: a compiler that forgets a bias would pass with those.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner = model.get_submodule(name.rpartition(".")[0])
            if parameter.dim() > 1:
                parameter.normal_(
                    0, 0.5 if isinstance(owner, nn.Embedding) else fan_in(owner, parameter) ** -0.5
                )
            else:
                # The scale of a norm is near 1, except where the model adds that 1 itself.
                centre = 0.0 if name.endswith("bias") or bool((parameter == 0).all()) else 1.0
                parameter.normal_(centre, 0.1)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model


def fan_in(owner: nn.Module, parameter: torch.Tensor) -> int:
    """How many products are summed for one output element of this weight."""
    if isinstance(owner, nn.ConvTranspose1d | nn.ConvTranspose2d) or type(owner).__name__ == "Conv1D":
        return parameter.shape[0]
    return parameter[0].numel()


def ids(batch: int, length: int, vocabulary: int) -> torch.Tensor:
    """Token ids [batch, length]."""
    return torch.randint(0, vocabulary, (batch, length))


def padding(batch: int, length: int) -> torch.Tensor:
    """A padding mask [batch, length] of ones, with zeros at the end of the first row."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[0, length - length // 3 :] = 0
    return mask
