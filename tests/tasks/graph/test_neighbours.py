"""Lists of neighbours against the adjacency matrix."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.tasks.graph import Neighbours


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, torch.Tensor]:
    nodes = draw(st.integers(1, 12))
    node = st.integers(0, nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=30))
    return nodes, torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()


def adjacency(nodes: int, edges: torch.Tensor, both: bool, loops: bool) -> torch.Tensor:
    """Row i counts how often each node is in the list of i."""
    counts = torch.zeros(nodes, nodes)
    for one, other in edges.t().tolist():
        if loops and one == other:
            continue
        counts[other, one] += 1
        if both:
            counts[one, other] += 1
    if loops:
        counts += torch.eye(nodes)
    lonely = counts.sum(1) == 0
    counts[lonely, lonely.nonzero().reshape(-1)] = 1
    return counts


def as_matrix(lists: Neighbours) -> torch.Tensor:
    counts = torch.zeros(lists.nodes, lists.nodes)
    rows = torch.arange(lists.nodes).repeat_interleave(lists.degrees())
    return counts.index_put((rows, lists.of), torch.ones(lists.edges), accumulate=True)


@given(graphs(), st.booleans(), st.booleans())
def test_lists_hold_every_edge_and_are_never_empty(
    graph: tuple[int, torch.Tensor], both: bool, loops: bool
) -> None:
    nodes, edges = graph
    lists = Neighbours.from_edges(edges, nodes, both=both, loops=loops)
    assert torch.equal(as_matrix(lists), adjacency(nodes, edges, both, loops))
    assert bool((lists.degrees() > 0).all())


@given(graphs())
def test_symmetric_weights_are_those_of_kipf_and_welling(graph: tuple[int, torch.Tensor]) -> None:
    nodes, edges = graph
    lists = Neighbours.from_edges(edges, nodes, loops=True)
    counts = adjacency(nodes, edges, True, True)
    scale = counts.sum(1).rsqrt()
    rows = torch.arange(nodes).repeat_interleave(lists.degrees())
    got = torch.zeros(nodes, nodes).index_put((rows, lists.of), lists.symmetric_weights(), accumulate=True)
    torch.testing.assert_close(got, scale[:, None] * counts * scale)


@given(graphs(), st.data())
def test_a_part_has_the_lists_of_its_nodes(graph: tuple[int, torch.Tensor], data: st.DataObject) -> None:
    nodes, edges = graph
    lists = Neighbours.from_edges(edges, nodes)
    first = data.draw(st.integers(0, nodes))
    last = data.draw(st.integers(first, nodes))
    part = lists.part(first, last)
    whole = [row.tolist() for row in lists.of.tensor_split(lists.starts[1:])]
    got = [row.tolist() for row in part.of.tensor_split(part.starts[1:])] if last > first else []
    assert got == whole[first:last]


def test_edges_of_other_nodes_are_refused() -> None:
    with pytest.raises(DataError, match="expected nodes from 0 to 2, got 0 to 3"):
        Neighbours.from_edges(torch.tensor([[0], [3]]), 3)
    with pytest.raises(DataError, match=r"expected shape \[2, edges\]"):
        Neighbours.from_edges(torch.zeros(3, 2, dtype=torch.int64), 3)
