"""A mask as conditions that all must hold, each known while compiling or computed in the graph."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.frontend.flex.mod import Mod
from l0compile.frontend.flex.writer import GraphWriter
from l0compile.ir.nodes import is_static

aten = torch.ops.aten
_AND = (aten.__and__.Tensor, aten.bitwise_and.Tensor, aten.logical_and.default)
_ONES = (aten.new_ones.default, aten.ones_like.default, aten.ones.default)


@dataclass(frozen=True, eq=False)
class PlaceCondition:
    """One of the conditions of a mask.

    Attributes:
        mod: a function of the place.
        values: the values of its buffers, if all that it reads are known while compiling.
    """

    mod: Mod
    values: tuple[Any, ...] | None

    @property
    def key(self) -> Hashable:
        """Equal for conditions that say the same, while both live."""
        values = (id(value) if isinstance(value, torch.Tensor) else value for value in self.values or ())
        return self.mod.module.code, *values

    @property
    def of_key_alone(self) -> bool:
        """Whether it is the same for all queries."""
        return "query" not in self.mod.reads()

    @property
    def is_causal(self) -> bool:
        """Whether it says ``query >= key``, which holds for any sizes."""
        node = self.mod.result
        sides = [self.mod.inputs.get(side) for side in node.args if isinstance(side, fx.Node)]
        wanted = {aten.ge.Tensor: ["query", "key"], aten.le.Tensor: ["key", "query"]}
        return sides == wanted.get(node.target)


def conditions_of(mods: Sequence[Mod], writer: GraphWriter, batches: Any) -> list[PlaceCondition]:
    """The conditions of some masks, without those that always hold.

    Args:
        mods: functions of the place.
        writer: knows which buffers have a value.
        batches: their number; with a symbolic one nothing is known of a condition on the batch.
    """
    return [
        PlaceCondition(
            part,
            part.known_buffers(writer.value) if is_static(batches) or "batch" not in part.reads() else None,
        )
        for mod in mods
        for part in _conjuncts(mod, mod.result)
    ]


def _conjuncts(mod: Mod, node: fx.Node) -> Iterator[Mod]:
    # Of numbers "and" is something else, but what it gives is then no bool, as the value of a mask_mod is.
    sides = [side for side in node.args if isinstance(side, fx.Node)]
    if node.op == "call_function" and node.target in _AND and len(sides) == 2:
        for side in sides:
            yield from _conjuncts(mod, side)
    elif not (node.op == "call_function" and node.target in _ONES):
        yield mod.part(node)
