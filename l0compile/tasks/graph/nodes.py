"""A graph whose nodes have features and labels, in parts for training and judging."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from l0compile.errors import DataError
from l0compile.tasks.classification import Part
from l0compile.tasks.graph.neighbours import Neighbours

PARTS: tuple[Part, ...] = ("train", "validation", "held_out")


@dataclass(frozen=True)
class NodeData:
    """A graph with features and labels.

    Attributes:
        features: float32 [nodes, features].
        labels: int64 [nodes].
        neighbours: of every node; with loops for a GCN.
        parts: part -> int64 [n], its nodes.
        classes: names of the classes, by label.
        source: where the data comes from, with its licence, in words.
        digest: of the data.

    Raises:
        DataError: sizes or labels do not fit.
    """

    features: Tensor
    labels: Tensor
    neighbours: Neighbours
    parts: Mapping[Part, Tensor]
    classes: tuple[str, ...]
    source: str
    digest: str

    def __post_init__(self) -> None:
        sizes = {len(self.features), len(self.labels), self.neighbours.nodes}
        if len(sizes) > 1:
            raise DataError(
                f"graph: expected as many features and labels as nodes, got {len(self.features)}, "
                f"{len(self.labels)} and {self.neighbours.nodes}"
            )
        for name in PARTS:
            if name not in self.parts or not len(self.parts[name]):
                raise DataError(f"graph: parts: expected nodes for {', '.join(PARTS)}, got none for {name}")
            rows = self.parts[name]
            if not 0 <= int(rows.min()) <= int(rows.max()) < len(self.labels):
                raise DataError(
                    f"graph: part {name}: expected nodes from 0 to {len(self.labels) - 1}, got {int(rows.min())} to "
                    f"{int(rows.max())}"
                )
            found = self.labels[rows]
            if not 0 <= int(found.min()) <= int(found.max()) < len(self.classes):
                raise DataError(
                    f"graph: part {name}: expected labels from 0 to {len(self.classes) - 1}, got {int(found.min())} "
                    f"to {int(found.max())}"
                )
