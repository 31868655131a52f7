"""A graph with zeros, as data that prints as the Python that makes it again."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Input:
    """``kind``: "tokens" [batch, length, 12], "image" [batch, 8, length, 6], "rows" [batch, 12], "ids" or "mask"
    [batch, length]."""

    kind: str

    def tensor(self, batch: int, length: int) -> Tensor:
        """Values for these sizes."""
        if self.kind == "ids":
            return torch.randint(0, 11, (batch, length))
        if self.kind == "mask":
            mask = torch.rand(batch, length) < 0.6
            mask[:, 0] = True  # attention over nothing has no answer
            return mask
        sizes = {"tokens": (batch, length, 12), "image": (batch, 8, length, 6), "rows": (batch, 12)}
        return torch.randn(sizes[self.kind])


@dataclass(frozen=True)
class Zeros:
    """Zeros in the parameters of one step; see ``zeros.py`` for the kinds."""

    kind: str
    fraction: float


@dataclass(frozen=True)
class Step:
    """One operator: its name, the values it reads, its attributes, and the zeros in its parameters."""

    name: str
    reads: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    zeros: Zeros | None = None


@dataclass(frozen=True)
class Recipe:
    """A model, its inputs, and what is symbolic.

    Attributes:
        inputs: values 0, 1, ...; every result of a step takes the next number.
        steps: in order.
        outputs: the values returned, as ``structure``: "tensor", "tuple" or "dict".
        dynamic: which of "batch" and "length" are symbolic.
        sizes, other: (batch, length) to compile at, and to call with besides.
        dtype: of all parameters and floating inputs.
        seed: of all weights and zeros.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    structure: str = "tensor"
    dynamic: tuple[str, ...] = ()
    sizes: tuple[int, int] = (2, 5)
    other: tuple[int, int] = (3, 7)
    dtype: str = "float32"
    seed: int = 0

    @property
    def second(self) -> tuple[int, int]:
        """Other sizes of what is symbolic; the rest as compiled."""
        batch, length = ("batch" in self.dynamic), ("length" in self.dynamic)
        return (self.other[0] if batch else self.sizes[0], self.other[1] if length else self.sizes[1])

    def tensors(self, sizes: tuple[int, int]) -> tuple[Tensor, ...]:
        """Inputs of these sizes, the same each time."""
        torch.manual_seed(self.seed)
        values = [source.tensor(*sizes) for source in self.inputs]
        dtype = getattr(torch, self.dtype)
        return tuple(value.to(dtype) if value.is_floating_point() else value for value in values)

    @property
    def dynamic_shapes(self) -> dict[str, Any] | None:
        """For ``l0.compile``: names of symbolic sizes for each input."""
        if not self.dynamic:
            return None
        places = {"image": {0: "batch", 2: "length"}, "rows": {0: "batch"}}
        shapes = {}
        for name, source in zip(("first", "second"), self.inputs, strict=False):
            axes = places.get(source.kind, {0: "batch", 1: "length"})
            shapes[name] = {axis: label for axis, label in axes.items() if label in self.dynamic}
        return shapes
