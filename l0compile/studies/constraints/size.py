"""A limit on the size of the saved model: ``artifact_mb`` in the table ``[limits]``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from l0compile.errors import InfeasibleError
from l0compile.gates import dense_weight
from l0compile.ir.ops.words import features_of
from l0compile.studies.constraints.constraint import Chosen, number
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.bounds import Bound
from l0compile.studies.result import Requirement

KEY = "limits.artifact_mb"
# Bytes of a compiled model beside its weights: the library and the manifest.
CODE_BYTES = 2_000_000
_INDEX_BYTES = 4


@dataclass(frozen=True)
class SizeLimit:
    """The saved model has at most ``most`` millions of bytes; in memory it takes about as much."""

    most: float
    kind = "size"

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        """Read the value of ``artifact_mb``.

        Raises:
            ConfigError: it is no number from 0.001 to 1e9.
        """
        return cls(number(value, 0.001, 1e9, where))

    def plan(self, dense: nn.Module, layers: tuple[str, ...]) -> Bound:
        """Bound the predicted size of the model.

        Raises:
            InfeasibleError: the model is too large even without any of ``layers``.
        """
        sizes = Sizes.of(dense, layers)
        if (least := (sizes.rest + CODE_BYTES) / 1e6) > self.most:
            raise InfeasibleError(
                f"search: {KEY}: expected more than {least:.1f}, which the code and the layers without gates take, got "
                f"{self.most:g}; gate more layers, or allow more"
            )
        return Bound(KEY, self.most, lambda allocation: sizes.bytes_of(allocation) / 1e6)

    def measure(self, chosen: Chosen) -> float:
        """Return the size of the saved model, in millions of bytes."""
        return sum(file.stat().st_size for file in chosen.artifact.iterdir()) / 1e6

    def verdict(self, found: float, chosen: Chosen) -> Requirement:
        """Compare the size with the limit."""
        return Requirement(
            f"at most {self.most:g} MB on disk", f"{found:.1f} MB", found <= self.most, self.kind
        )


@dataclass(frozen=True)
class Sizes:
    """Predicts the size of a model.

    weights: layer -> number of weights, for the layers that allocations prune. rest: bytes of all other tensors.
    """

    weights: Mapping[str, int]
    rest: int

    @classmethod
    def of(cls, model: nn.Module, names: Iterable[str]) -> "Sizes":
        """Count the tensors of ``model``; ``names`` are its gated linear layers. Shared tensors count once."""
        layers = {name: dense_weight(model.get_submodule(name)) for name in names}
        tensors = [*model.parameters(), *model.buffers()]
        rest = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        rest -= sum(weight.numel() * weight.element_size() for weight in layers.values())
        return cls({name: weight.numel() for name, weight in layers.items()}, rest)

    def bytes_of(self, allocation: Allocation) -> float:
        """Predict the bytes of the compiled model: remaining blocks, each with an index.

        What closed heads and neurons save in other layers is not counted.
        """
        total = float(self.rest + CODE_BYTES)
        for name, count in self.weights.items():
            level = allocation.layers[name]
            index = 0.0 if level.block is None else _INDEX_BYTES / (level.block[0] * level.block[1])
            total += level.density * count * (4 / features_of(getattr(torch, level.precision)) + index)
        return total
