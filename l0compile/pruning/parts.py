"""Whole heads and neurons: gates on what a linear layer reads, and the loss of closing one after another.

To the layer that reads it a head is a block of columns, as high as the weight. So the path of the heads of a layer is
that of its weight in such blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

from torch import Tensor, nn

from l0compile.gates import Granularity, Head, Neuron, dense_weight
from l0compile.pruning.candidates import all_paths
from l0compile.pruning.curvature import Curvature
from l0compile.pruning.masks import linear_layers
from l0compile.pruning.prune import Path


@dataclass(frozen=True)
class Part:
    """The heads or the neurons that a linear layer reads.

    layer: its name. granularity: Head or Neuron, of the gates on its input. ms: what all of them together take, beside
    the layers whose blocks have prices of their own. makers: of those the ones whose rows are the heads or neurons.
    saved: at each level of its path, how much less the loss is because the weights that stay make up for what is gone.
    """

    layer: str
    granularity: Granularity
    ms: float
    makers: tuple[str, ...] = ()
    saved: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """As they are called in plans: ``layer (heads)``."""
        return f"{self.layer} ({'heads' if isinstance(self.granularity, Head) else 'neurons'})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without what is measured; no heads: neurons."""
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


def measured_parts(
    model: nn.Module, curvature: Mapping[str, Curvature], parts: Mapping[str, Part], cache: File | None
) -> tuple[dict[str, Part], dict[str, dict[tuple[int, int], Path]]]:
    """The parts with what their weights make up for, and for each its one path, by the shape of its blocks.

    cache: as of ``all_paths``.
    """
    measured, paths = {}, {}
    for name, part in parts.items():
        layer = linear_layers(model, [part.layer])[part.layer]
        block = part.block(layer)
        paths[name] = all_paths(model, curvature, {part.layer: (block,)}, cache)[part.layer]
        saved = _saved(dense_weight(layer).detach(), curvature[part.layer], paths[name][block])
        measured[name] = replace(part, saved=saved)
    return measured, paths


def _saved(weight: Tensor, curvature: Curvature, path: Path) -> tuple[float, ...]:
    """Of a path of whole columns, by level: the loss of leaving them out alone, less that of the path."""
    found = []
    for level, loss in enumerate(path.losses):
        gone = weight * ~path.live(level)[0].repeat_interleave(path.block[1])
        bare = ((gone @ curvature.damped * gone).sum(1) @ curvature.sensitivity).item()
        found.append(max(0.0, bare - loss))
    return tuple(found)
