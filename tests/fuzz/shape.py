"""What is known of a value while a graph is drawn: its sizes at two sets of inputs, hence which of them are fixed."""

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_ELEMENTS = 20_000


@dataclass(frozen=True)
class Shape:
    """Sizes with the example inputs and with the others; where they differ, the size is symbolic."""

    small: tuple[int, ...]
    large: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, pair: tuple[Tensor, Tensor]) -> "Shape":
        return cls(tuple(pair[0].shape), tuple(pair[1].shape), pair[0].dtype)

    @property
    def rank(self) -> int:
        return len(self.small)

    @property
    def floating(self) -> bool:
        return self.dtype.is_floating_point

    def fixed(self, axis: int) -> bool:
        """Whether the size of this axis is the same for both sets of inputs."""
        return self.rank > 0 and self.small[axis] == self.large[axis]

    def axes(self, least: int = 1) -> list[int]:
        """Axes of fixed size, of at least ``least``."""
        return [axis for axis in range(self.rank) if self.fixed(axis) and self.small[axis] >= least]

    def channels(self, axis: int = 1) -> bool:
        """Whether ``axis`` can be the channels of a convolution or a norm."""
        return self.rank > axis and self.fixed(axis)

    def at_least(self, size: int, axes: range) -> bool:
        """Whether all these axes have ``size`` elements or more, for both sets of inputs."""
        return all(min(self.small[axis], self.large[axis]) >= size for axis in axes)
