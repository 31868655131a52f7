#!/usr/bin/env bash
# torch-geometric 2.8.1: ToUndirected of a graph whose edges have weights, and which has both directions already, as graphs of
# most data sets do.
#
# Guess: nothing is missing, so nothing changes; a transform can stand in a pipeline twice.
# Seen: the edges are the same and each weight is doubled, since the reversed copy of an edge is added to the edge that was
# there; the second time makes it four times. Without weights nothing happens. Layers that normalise by degree hide it, others
# (GraphConv, a weight as an attribute) compute another model. reduce="mean" keeps the weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch-geometric==2.8.1 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GraphConv
from torch_geometric.transforms import ToUndirected

edges, weights = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.tensor([0.5, 0.5, 1.0, 1.0])
graph = Data(x=torch.ones(3, 1), edge_index=edges, edge_weight=weights)
assert graph.is_undirected()
once, twice = ToUndirected()(graph.clone()), ToUndirected()(ToUndirected()(graph.clone()))
kept = ToUndirected(reduce="mean")(graph.clone())
for name, each in (("before", graph), ("once", once), ("twice", twice), ("reduce='mean'", kept)):
    print(f"{name}: {each.edge_index.tolist()} {each.edge_weight.tolist()}")
assert torch.equal(once.edge_index, edges) and torch.equal(twice.edge_index, edges)
assert torch.equal(once.edge_weight, 2 * weights) and torch.equal(twice.edge_weight, 4 * weights)
assert torch.equal(kept.edge_weight, weights)
layer = GraphConv(1, 1)
assert not torch.allclose(layer(graph.x, edges, weights), layer(once.x, once.edge_index, once.edge_weight))
PY
