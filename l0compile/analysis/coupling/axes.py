"""Links between axes, and pins on channels: what operators say about the channels of operands and results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.analysis import Liveness
from l0compile.analysis.liveness.lattice import Fact
from l0compile.ir.nodes import is_static, shape, tensor
from l0compile.ir.program import Program

TensorAxis = tuple[fx.Node, int]
"""One axis of one tensor; never negative."""

Grow = Callable[[list[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Link:
    """A relation between the kept channels of some axes.

    Attributes:
        axes: the related axes.
        grow: from the bool masks of those axes to masks with the channels that the relation adds; it never clears one.
        origin: the operator that imposes the relation.
    """

    axes: tuple[TensorAxis, ...]
    grow: Grow
    origin: fx.Node


@dataclass(frozen=True)
class Pin:
    """Channels (bool [size]) of one axis that must stay, whatever liveness says, and the reason."""

    axis: TensorAxis
    channels: Tensor
    reason: str


@dataclass
class Coupling:
    """The links and pins of all operators. Axes of symbolic size, or of size 1, are never compacted."""

    program: Program
    liveness: Liveness
    links: list[Link] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)

    def same(self, origin: fx.Node, *axes: TensorAxis) -> None:
        """Link axes that hold the same channels in the same order, except those of size 1, which are broadcast."""
        present = [axis for axis in axes if self.size(axis) is not None]
        for first, second in pairwise(present):
            self.link(origin, (first, second), _union)

    def link(self, origin: fx.Node, axes: Sequence[TensorAxis], grow: Grow) -> None:
        """Add another relation; all axes must be static and larger than 1."""
        self.links.append(Link(tuple(axes), grow, origin))

    def pin(self, axis: TensorAxis, reason: str, channels: Tensor | None = None) -> None:
        """Keep the given channels of an axis; all without any."""
        size = self.size(axis)
        if size is not None:
            mask = torch.ones(size, dtype=torch.bool) if channels is None else channels
            if bool(mask.any()):
                self.pins.append(Pin(axis, mask, reason))

    def pin_all(self, node: fx.Node, reason: str) -> None:
        """Keep every channel of every axis of a tensor."""
        for axis in self.axes(node):
            self.pin(axis, reason)

    def axes(self, node: fx.Node) -> list[TensorAxis]:
        """The axes of a tensor node that compaction may change."""
        if tensor(node) is None:
            return []
        return [(node, i) for i in range(len(shape(node))) if self.size((node, i)) is not None]

    def size(self, axis: TensorAxis) -> int | None:
        """The number of channels; None where there is nothing to compact."""
        node, position = axis
        size = shape(node)[position]
        return int(size) if is_static(size) and size > 1 else None

    def single(self, axis: TensorAxis) -> tuple[Tensor, Tensor]:
        """(bool [n], values [n]): the channels that hold one known number everywhere, and that number (else 0).

        n is 1 where the number of channels varies.
        """
        node, position = axis
        size = extent(axis)
        fact = self.liveness.facts.get(node)
        if fact is None:
            return torch.zeros(size, dtype=torch.bool), torch.zeros(size)
        return single_values(fact, position, size)

    def known(self, axis: TensorAxis) -> Tensor:
        """bool [n]: the channels with an element that is a known constant; n is 1 where their number varies."""
        node, position = axis
        size = extent(axis)
        fact = self.liveness.facts.get(node)
        if fact is None:
            return torch.zeros(size, dtype=torch.bool)
        return along(fact.known, position).any(1).expand(size)


def extent(axis: TensorAxis) -> int:
    """The number of channels, 1 where it varies: whatever is known then holds for all of them."""
    node, position = axis
    size = shape(node)[position]
    return int(size) if is_static(size) else 1


def single_values(fact: Fact, position: int, size: int) -> tuple[Tensor, Tensor]:
    """(bool [size], values [size]): the channels of an axis that are one known number each; values are 0 elsewhere."""
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    known, value = along(known, position), along(value, position)
    single = known.all(1) & (value == value[:, :1]).all(1)
    zero = torch.zeros((), dtype=value.dtype)
    return single.expand(size), torch.where(single, value[:, 0], zero).expand(size)


def along(mask: Tensor, position: int) -> Tensor:
    """[..., n, ...] -> [n, everything else]."""
    return mask.movedim(position, 0).reshape(mask.shape[position], -1)


def _union(masks: list[Tensor]) -> list[Tensor]:
    both = masks[0] | masks[1]
    return [both, both]
