"""The made-up graph has the sizes that were asked for, skewed degrees, and neighbours of one's own class."""

import dataclasses

import pytest
import torch

from l0compile.errors import ConfigError
from l0compile.tasks.graph import NodeData, SyntheticGraph, synthetic_graph
from l0compile.tasks.graph import synthetic as module
from tests.tasks.graph.conftest import SMALL


def test_sizes_are_exact_and_the_seed_decides_all(graph: NodeData, monkeypatch: pytest.MonkeyPatch) -> None:
    assert graph.features.shape == (300, 24) and graph.neighbours.edges == 3000
    assert sum(len(rows) for rows in graph.parts.values()) == 300
    assert len(torch.cat(list(graph.parts.values())).unique()) == 300
    again, other = synthetic_graph(SMALL), synthetic_graph(dataclasses.replace(SMALL, seed=4))
    assert torch.equal(again.neighbours.of, graph.neighbours.of) and torch.equal(
        again.features, graph.features
    )
    assert not torch.equal(other.neighbours.of, graph.neighbours.of) and other.digest != graph.digest
    monkeypatch.setattr(module, "_CHUNK", 400)  # several chunks, the last one smaller
    assert synthetic_graph(SMALL).neighbours.edges == 3000


def test_degrees_are_skewed_and_neighbours_alike() -> None:
    made = synthetic_graph(
        SyntheticGraph(nodes=4000, edges=60_000, features=4, classes=5, within=0.6, skew=0.5)
    )
    degrees = made.neighbours.degrees()
    assert float(degrees.max()) > 10 * float(degrees.float().mean())
    rows = torch.arange(4000).repeat_interleave(degrees)
    alike = (made.labels[rows] == made.labels[made.neighbours.of]).double().mean()
    assert abs(float(alike) - 0.6) < 0.02
    assert not bool((rows == made.neighbours.of)[degrees[rows] > 1].any())
    assert torch.bincount(made.labels).tolist() == [800] * 5


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="within: expected 0 or more and less than 1, got"):
        SyntheticGraph(within=1.5)
    with pytest.raises(ConfigError, match="20 nodes or more for each class"):
        SyntheticGraph(nodes=100)
