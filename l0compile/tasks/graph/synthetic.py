"""A made-up graph of any size: few nodes with many neighbours, most neighbours of one's own class, noisy features.

It stands in for graphs that can't be shipped. With its default sizes it is as large as ogbn-products (Hu et al.,
NeurIPS 2020: 2,449,029 nodes, 61,859,140 edges, 100 features, 47 classes, 8 % of the nodes to train on).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from l0compile.errors import ConfigError
from l0compile.tasks.classification import Part
from l0compile.tasks.graph.neighbours import Neighbours
from l0compile.tasks.graph.nodes import NodeData

# Edges or nodes that are drawn at once.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class SyntheticGraph:
    """The sizes and properties of a graph.

    Attributes:
        nodes: number of nodes.
        edges: number of edges; each is in the lists of both its ends. Some are drawn twice, and stay twice.
        features: of a node.
        classes: of nodes, equally many of each.
        within: share of the edges whose ends are chosen to be of one class.
        skew: the node at rank r of its class is drawn with weight (r + 1) ** -skew: in [0, 1).
        signal: distance of the classes' mean features, in standard deviations of the noise.
        train, validation: shares of the nodes.
        seed: of all that is drawn.
    """

    nodes: int = 2_449_029
    edges: int = 61_859_140
    features: int = 100
    classes: int = 47
    within: float = 0.6
    skew: float = 0.4
    signal: float = 0.15
    train: float = 0.08
    validation: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("within", "skew", "train", "validation")}
        for name, value in shares.items():
            if not 0.0 <= value < 1.0:
                raise ConfigError(f"SyntheticGraph: {name}: expected 0 or more and less than 1, got {value}")
        if min(self.features, self.classes, self.edges) < 1 or self.nodes < 20 * self.classes:
            raise ConfigError(
                "SyntheticGraph: expected features, classes and edges of 1 or more, and 20 nodes or more for each "
                f"class, got {self}"
            )


def synthetic_graph(spec: SyntheticGraph | None = None) -> NodeData:
    """Make the graph; the same one for the same spec.

    Args:
        spec: sizes and properties.
    """
    spec = spec or SyntheticGraph()
    generator = np.random.default_rng(spec.seed)
    # Nodes by class and rank; which number each has says nothing about either.
    order = generator.permutation(spec.nodes)
    bounds = np.linspace(0, spec.nodes, spec.classes + 1).round().astype(np.int64)
    labels = np.empty(spec.nodes, dtype=np.int64)
    labels[order] = np.repeat(np.arange(spec.classes), np.diff(bounds))
    keys = np.empty(2 * spec.edges, dtype=np.int64)
    for first, one, other in _edges(spec, generator, bounds):
        one, other, last = order[one], order[other], first + len(one)
        keys[first:last] = one * spec.nodes + other
        keys[spec.edges + first : spec.edges + last] = other * spec.nodes + one
    neighbours = Neighbours.from_keys(keys, spec.nodes)
    return NodeData(
        _features(spec, generator, labels), torch.from_numpy(labels), neighbours, _parts(spec, generator),
        tuple(f"class {number}" for number in range(spec.classes)),
        f"a synthetic graph of {spec.nodes:,} nodes and {spec.edges:,} edges, free of rights",
        hashlib.sha256(repr(asdict(spec)).encode()).hexdigest()[:16],
    )  # fmt: skip


def _edges(
    spec: SyntheticGraph, generator: np.random.Generator, bounds: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (number of the first edge, one end, other end) in chunks; ends are places by class and rank."""
    sizes = np.diff(bounds)
    for first in range(0, spec.edges, _CHUNK):
        count = min(_CHUNK, spec.edges - first)
        own = generator.integers(spec.classes, size=count)
        shift = generator.integers(1, max(spec.classes, 2), size=count)
        other = np.where(generator.random(count) < spec.within, own, (own + shift) % spec.classes)
        ends = []
        for kind in (own, other):
            # The inverse of the cumulative weight of ranks, (r / n) ** (1 - skew).
            share = generator.random(count) ** (1.0 / (1.0 - spec.skew))
            ends.append(bounds[kind] + np.minimum((share * sizes[kind]).astype(np.int64), sizes[kind] - 1))
        one, two = ends
        # No loops: the partner of a node with itself is the next one of its class.
        alone = one == two
        two[alone] = bounds[own[alone]] + (two[alone] - bounds[own[alone]] + 1) % sizes[own[alone]]
        yield first, one, two


def _features(spec: SyntheticGraph, generator: np.random.Generator, labels: np.ndarray) -> torch.Tensor:
    centres = generator.standard_normal((spec.classes, spec.features), dtype=np.float32) * spec.signal
    found = np.empty((spec.nodes, spec.features), dtype=np.float32)
    step = max(1, 20 * _CHUNK // spec.features)
    for first in range(0, spec.nodes, step):
        part = found[first : first + step]
        generator.standard_normal(out=part, dtype=np.float32)
        part += centres[labels[first : first + step]]
    return torch.from_numpy(found)


def _parts(spec: SyntheticGraph, generator: np.random.Generator) -> dict[Part, torch.Tensor]:
    order = torch.from_numpy(generator.permutation(spec.nodes))
    train, validation = (max(1, round(share * spec.nodes)) for share in (spec.train, spec.validation))
    rest = len(order) - train - validation
    return dict(zip(("train", "validation", "held_out"), order.split([train, validation, rest]), strict=True))
