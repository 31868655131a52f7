"""Whole heads and neurons: gates on what a linear layer reads, and the loss of closing one after another.

To the layer that reads it a head is a block of columns, as high as the weight. So the path of the heads of a layer is
that of its weight in such blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

from torch import nn

from l0compile.gates import Granularity, Head, Neuron
from l0compile.oneshot.candidates import all_paths
from l0compile.oneshot.curvature import Curvature
from l0compile.oneshot.masks import linear_layers
from l0compile.oneshot.prune import Path


@dataclass(frozen=True)
class Part:
    """The heads or the neurons that a linear layer reads.

    layer: its name. granularity: Head or Neuron, of the gates on its input. ms: what all of them together take, beside
    the layers whose blocks have prices of their own. makers: of those the ones whose rows are the heads or neurons.
    """

    layer: str
    granularity: Granularity
    ms: float
    makers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As they are called in plans: ``layer (heads)``."""
        return f"{self.layer} ({'heads' if isinstance(self.granularity, Head) else 'neurons'})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; no heads: neurons."""
        heads = self.granularity.count if isinstance(self.granularity, Head) else None
        return {"layer": self.layer, "heads": heads, "ms": self.ms, "makers": list(self.makers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Part":
        """Inverse of `to_json`."""
        heads = data["heads"]
        granularity = Neuron() if heads is None else Head(int(heads))
        makers = tuple(str(name) for name in data["makers"])
        return cls(str(data["layer"]), granularity, float(data["ms"]), makers)

    def block(self, layer: nn.Linear) -> tuple[int, int]:
        """One of them as a block of the weight [out, in] of ``layer``."""
        count = self.granularity.count if isinstance(self.granularity, Head) else layer.in_features
        return layer.out_features, layer.in_features // count


def part_paths(
    model: nn.Module, curvature: Mapping[str, Curvature], parts: Mapping[str, Part], cache: File | None
) -> dict[str, dict[tuple[int, int], Path]]:
    """For each part its one path, by the shape of its blocks. cache: as of ``all_paths``."""
    found = {}
    for name, part in parts.items():
        layer = linear_layers(model, [part.layer])[part.layer]
        found[name] = all_paths(model, curvature, {part.layer: (part.block(layer),)}, cache)[part.layer]
    return found
