"""The least set of channels that must stay: what is live or pinned, closed under every link."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling import contractions as _contractions  # noqa: F401  (each fills its part of the table)
from l0compile.analysis.coupling import elementwise as _elementwise  # noqa: F401
from l0compile.analysis.coupling import heads as _heads  # noqa: F401
from l0compile.analysis.coupling import narrow as _narrow  # noqa: F401
from l0compile.analysis.coupling import norms as _norms  # noqa: F401
from l0compile.analysis.coupling import positions as _positions  # noqa: F401
from l0compile.analysis.coupling import views as _views  # noqa: F401
from l0compile.analysis.coupling.axes import Coupling, Pin, TensorAxis, along
from l0compile.analysis.coupling.descriptions import describe
from l0compile.analysis.coupling.fixpoint import propagate
from l0compile.analysis.coupling.rounding import keep_blocks, round_up
from l0compile.analysis.coupling.table import lookup
from l0compile.analysis.liveness.analysis import Liveness
from l0compile.ir.nodes import shape, tensor
from l0compile.ir.program import Program


@dataclass(frozen=True)
class KeptChannels:
    """The result of :func:`couple`.

    Attributes:
        masks: bool [size] for each axis that could be compacted: which channels stay.
        needed: the same without links and pins: which channels are live.
        neighbours: for each axis those that an operator couples with it.
        pins: what holds channels, for each axis that something holds.
    """

    masks: dict[TensorAxis, Tensor]
    needed: dict[TensorAxis, Tensor]
    neighbours: Mapping[TensorAxis, Sequence[TensorAxis]]
    pins: Mapping[TensorAxis, Sequence[Pin]]

    def cut(self, node: fx.Node, axis: int) -> Tensor | None:
        """The mask of an axis that loses channels, else None."""
        mask = self.masks.get((node, axis % max(len(shape(node)), 1)))
        return None if mask is None or bool(mask.all()) else mask

    def size(self, node: fx.Node, axis: int) -> int | None:
        """The number of channels that an axis keeps; None when it cannot be compacted."""
        mask = self.masks.get((node, axis % max(len(shape(node)), 1)))
        return None if mask is None else int(mask.sum())

    def obstacle(self, axis: TensorAxis) -> tuple[int, str] | None:
        """(number of channels that are dead but stay, the reason); None when every dead channel goes."""
        stays = self.masks[axis] & ~self.needed[axis]
        if not bool(stays.any()):
            return None
        for other in self.coupled(axis):
            for pin in self.pins.get(other, ()):
                if self._keeps(pin.channels, stays):
                    return int(stays.sum()), pin.reason
            if self._keeps(self.needed[other], stays):
                return int(stays.sum()), f"{describe(other[0])} has live values in the same channels"
        return int(stays.sum()), "other channels of their group, head, block or vector register are live"

    def coupled(self, axis: TensorAxis) -> Iterator[TensorAxis]:
        """Iterate over an axis and all that operators couple with it, directly or through others, nearest first."""
        found = [axis]
        seen = {axis}
        for other in found:  # grows while it is read
            yield other
            new = [neighbour for neighbour in self.neighbours[other] if neighbour not in seen]
            seen.update(new)
            found += dict.fromkeys(new)

    @staticmethod
    def _keeps(channels: Tensor, stays: Tensor) -> bool:
        """Whether channels of another axis may be the reason that some stay here. Axes of other sizes do not count."""
        return len(channels) == len(stays) and bool((channels & stays).any())


def couple(program: Program, liveness: Liveness) -> KeptChannels:
    """Decide which channels of which axes stay.

    A channel goes if liveness shows that nothing reads it or that it is constant, if every reader of a constant can
    account for it, and if the same holds for each channel that it is coupled with. An operator without a rule keeps all
    channels of its operands and results.
    """
    coupling = Coupling(program, liveness)
    for node in program.graph.nodes:
        _state(node, coupling)
    needed = {axis: _needed(axis, coupling) for node in program.graph.nodes for axis in coupling.axes(node)}
    masks = {axis: mask.clone() for axis, mask in needed.items()}
    for pin in coupling.pins:
        masks[pin.axis] |= pin.channels
    propagate(masks, coupling.links, set(masks))
    empty = {axis for axis, mask in masks.items() if not bool(mask.any())}
    while empty:
        # A tensor without elements is more trouble than one dead channel.
        axis = min(empty, key=lambda item: (item[0], item[1]))
        masks[axis][0] = True
        propagate(masks, coupling.links, {axis})
        empty = {axis for axis in empty if not bool(masks[axis].any())}
    keep_blocks(masks, coupling.links, program.constants)
    round_up(masks, coupling.links)
    return KeptChannels(masks, needed, _neighbours(coupling, masks), _pins(coupling))


def _state(node: fx.Node, coupling: Coupling) -> None:
    if node.op == "placeholder":
        coupling.pin_all(node, "they belong to an input of the model")
    elif node.op == "output":
        for result in node.all_input_nodes:
            coupling.pin_all(result, "they are read by an output of the model")
    elif node.op == "call_function":
        rule = lookup(node)
        if rule is not None and tensor(node) is not None:
            rule(node, coupling)
            return
        if node.target is torch.ops.aten.sym_size.int:
            return
        reason = f"they are read or made by {node.target} '{node.name}', for which there is no rule"
        for other in (node, *node.all_input_nodes):
            coupling.pin_all(other, reason)


def _needed(axis: TensorAxis, coupling: Coupling) -> Tensor:
    node, position = axis
    mask = coupling.liveness.masks[node]
    return along(mask, position).any(1).expand(shape(node)[position]).clone()


def _neighbours(coupling: Coupling, masks: Mapping[TensorAxis, Tensor]) -> dict[TensorAxis, list[TensorAxis]]:
    found: dict[TensorAxis, list[TensorAxis]] = {axis: [] for axis in masks}
    for link in coupling.links:
        first, *others = link.axes
        for other in others:
            found[first].append(other)
            found[other].append(first)
    return found


def _pins(coupling: Coupling) -> dict[TensorAxis, list[Pin]]:
    found: dict[TensorAxis, list[Pin]] = {}
    for pin in coupling.pins:
        found.setdefault(pin.axis, []).append(pin)
    return found
