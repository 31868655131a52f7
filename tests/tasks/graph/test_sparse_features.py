"""A layer of sparse features against the dense one: results, gradients, and the training that uses it."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import l0compile as l0
from l0compile.tasks.graph import GCN, GraphOptions, GraphTask, NodeData
from l0compile.tasks.graph.sparse_features import SparseFeatures


@given(st.integers(1, 9), st.integers(1, 7), st.floats(0.0, 1.0), st.integers(0, 1000))
def test_products_and_gradients_are_those_of_the_dense_matrix(
    nodes: int, features: int, share: float, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(nodes, features) * (torch.rand(nodes, features) < share)
    layer = nn.Linear(features, 3, bias=False)
    sparse = SparseFeatures.of(x)
    wanted, got = layer(x), sparse.linear(layer, sparse.values)
    torch.testing.assert_close(got, wanted)
    direction = torch.randn_like(wanted)
    (expected,) = torch.autograd.grad(wanted, layer.weight, direction)
    (found,) = torch.autograd.grad(got, layer.weight, direction)
    torch.testing.assert_close(found, expected)


def test_a_task_on_sparse_features_has_the_loss_of_the_dense_path(graph: NodeData) -> None:
    few = replace(graph, features=graph.features * (torch.rand(graph.features.shape) < 0.05))
    task = GraphTask(few, GraphOptions(width=16, dropout=0.0))
    net, batch = task.build(0).train(), next(task.batches(1, 0))
    assert isinstance(net, GCN)
    quick = task.loss(net, batch)
    quick.backward()
    gradient = net.first.linear.weight.grad
    l0.attach(net, {"first.linear": l0.Neuron()}, init=0.9999)  # has to see what the layer reads
    dense = task.loss(net, batch)
    (expected,) = torch.autograd.grad(dense, net.first.linear.weight)
    torch.testing.assert_close(dense, quick, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(gradient, expected, rtol=0.1, atol=1e-3)
