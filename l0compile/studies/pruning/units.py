"""Whole heads and neurons: gates on the input of a linear layer, and the loss of closing them one after another.

For the layer that reads it, a head is a block of columns as high as the weight. So the path of a layer's heads is the
path of its weight in such blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.gates import Granularity, Head, Neuron, dense_weight
from l0compile.ir.codec import Count, decode
from l0compile.studies.pruning.curvature import Curvature
from l0compile.studies.pruning.masks import linear_layers
from l0compile.studies.pruning.paths import all_paths
from l0compile.studies.pruning.prune import PruningPath


@dataclass(frozen=True)
class UnitGroup:
    """The heads or the neurons that a linear layer reads.

    layer: its name. granularity: Head or Neuron, of the gates on its input. ms: the time of all of them together,
    without the layers whose blocks are priced by themselves. producers: those layers among them whose rows are the
    heads or neurons. saved: at each level, the loss that the remaining weights compensate for.
    """

    layer: str
    granularity: Granularity
    ms: float
    producers: tuple[str, ...] = ()
    saved: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Their name in allocations: ``layer (heads)`` or ``layer (neurons)``."""
        return f"{self.layer} ({'heads' if isinstance(self.granularity, Head) else 'neurons'})"

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types, without what is measured; "heads" is null for neurons."""
        heads = self.granularity.count if isinstance(self.granularity, Head) else None
        return {"layer": self.layer, "heads": heads, "ms": self.ms, "makers": list(self.producers)}

    @classmethod
    def from_json(cls, data: Any) -> "UnitGroup":
        """Return what `to_json` wrote.

        Raises:
            ConfigError: the values are something else.
        """
        stored = decode(data, _StoredUnits, "job: parts", ConfigError)
        granularity = Neuron() if stored.heads is None else Head(stored.heads)
        return cls(stored.layer, granularity, stored.ms, stored.makers)

    def block(self, layer: nn.Linear) -> tuple[int, int]:
        """Return (rows, columns) of one head or neuron in the weight [out, in] of ``layer``."""
        count = self.granularity.count if isinstance(self.granularity, Head) else layer.in_features
        return layer.out_features, layer.in_features // count


@dataclass(frozen=True)
class _StoredUnits:
    """A `UnitGroup` in JSON; no heads: neurons."""

    layer: str
    heads: Count | None
    ms: float
    makers: tuple[str, ...]


def measured_units(
    model: nn.Module, curvature: Mapping[str, Curvature], units: Mapping[str, UnitGroup], cache: Path | None
) -> tuple[dict[str, UnitGroup], dict[str, dict[tuple[int, int], PruningPath]]]:
    """Prune heads and neurons.

    Args:
        model: the dense model.
        curvature: of the layers that read them.
        units: the heads and neurons, by name.
        cache: as in ``all_paths``.

    Returns:
        The same units with ``saved`` filled in, and for each its only path by the shape of its blocks.
    """
    measured, paths = {}, {}
    for name, group in units.items():
        layer = linear_layers(model, [group.layer])[group.layer]
        block = group.block(layer)
        paths[name] = all_paths(model, curvature, {group.layer: (block,)}, cache)[group.layer]
        saved = _saved(dense_weight(layer).detach(), curvature[group.layer], paths[name][block])
        measured[name] = replace(group, saved=saved)
    return measured, paths


def _saved(weight: Tensor, curvature: Curvature, path: PruningPath) -> tuple[float, ...]:
    """Return, by level of a path of whole columns, the loss of removing them alone minus the loss of the path."""
    found = []
    for level, loss in enumerate(path.losses):
        gone = weight * ~path.live(level)[0].repeat_interleave(path.block[1])
        bare = ((gone @ curvature.damped * gone).sum(1) @ curvature.sensitivity).item()
        found.append(max(0.0, bare - loss))
    return tuple(found)
