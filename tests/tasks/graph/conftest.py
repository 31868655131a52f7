"""A small graph to train on."""

import pytest

from l0compile.tasks.graph import NodeData, SyntheticGraph, synthetic_graph

SMALL = SyntheticGraph(
    nodes=300, edges=1500, features=24, classes=4, within=0.8, signal=1.0, train=0.3, validation=0.2, seed=3
)


@pytest.fixture(scope="session")
def graph() -> NodeData:
    return synthetic_graph(SMALL)
