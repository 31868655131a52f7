"""Sampled neighbours are neighbours, uniform and repeatable, and layers read them as they read all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import l0compile as l0
from l0compile.errors import ConfigError
from l0compile.tasks.graph import GraphOptions, GraphSAGE, Neighbours, NodeData, SampledTask, Sampler


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 9), st.integers(0, 2**31))
def test_every_draw_is_a_neighbour_and_shapes_follow_from_sizes(
    fanouts: list[int], count: int, seed: int
) -> None:
    lists = Neighbours.from_edges(
        torch.randint(0, 20, (2, 40), generator=torch.Generator().manual_seed(1)), 20
    )
    nodes = torch.randint(0, 20, (count,), generator=torch.Generator().manual_seed(seed))
    sample = Sampler(lists, fanouts).sample(nodes, torch.Generator().manual_seed(seed))
    known = [set(row.tolist()) for row in lists.of.tensor_split(lists.starts[1:])]
    assert torch.equal(sample.nodes[:count], nodes) and len(sample.lists) == len(fanouts)
    size = count
    for (places, starts), fanout in zip(reversed(sample.lists), reversed(fanouts), strict=True):
        assert starts.tolist() == list(range(0, size * fanout, fanout))
        for row, of in enumerate(places.reshape(size, fanout)):
            assert {int(node) for node in sample.nodes[of]} <= known[int(sample.nodes[row])]
        size *= fanout + 1
    assert size == len(sample.nodes)


def test_draws_are_uniform_and_repeatable() -> None:
    lists = Neighbours.from_edges(torch.tensor([[0, 0, 0, 0], [1, 2, 3, 4]]), 5)
    sampler = Sampler(lists, [40_000])
    first, again = (sampler.sample(torch.tensor([0]), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.nodes, again.nodes)
    shares = torch.bincount(first.nodes[1:], minlength=5) / 40_000
    torch.testing.assert_close(shares[1:], torch.full((4,), 0.25), atol=0.01, rtol=0.0)


def test_an_epoch_has_every_node_once() -> None:
    lists = Neighbours.from_edges(torch.tensor([[0], [1]]), 10)
    found = [nodes for nodes, _ in Sampler(lists, [2]).batches(torch.arange(10), 4, seed=0)]
    assert [len(nodes) for nodes in found] == [4, 4, 2] and sorted(torch.cat(found).tolist()) == list(
        range(10)
    )


def test_fanouts_are_checked() -> None:
    lists = Neighbours.from_edges(torch.tensor([[0], [1]]), 2)
    for fanouts in ([], [3, 0]):
        with pytest.raises(ConfigError, match="expected a number above 0 for each layer"):
            Sampler(lists, fanouts)


def test_all_neighbours_as_a_sample_give_the_result_of_the_whole_graph(graph: NodeData) -> None:
    model = GraphSAGE(24, 8, 4).eval()
    lists = (graph.neighbours.of, graph.neighbours.starts)
    torch.testing.assert_close(model(graph.features, *lists, *lists), model(graph.features, *lists))


def test_a_batch_compiles_with_its_fixed_shapes(graph: NodeData) -> None:
    task = SampledTask(graph, GraphOptions(model="sage", width=16), fanouts=(3, 2), batch=30)
    model = task.build(0)
    first, second = (next(task.batches(30, seed)) for seed in range(2))
    compiled = l0.compile(model, first.inputs, engine="tvm")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*second.inputs), model(*second.inputs), rtol=1e-4, atol=1e-5)
