#!/usr/bin/env bash
# torch-geometric 2.8.1 with torch 2.13.0 on a CPU: a graph with two edges between the same nodes, given as edge_index and as an
# adjacency matrix that the library makes of it (ToSparseTensor, to_torch_csr_tensor, to_torch_coo_tensor).
#
# Guess: the matrix is the faster form of the same graph: two edges of weight 1 are an entry of 2, or two entries, and the layers'
# results are equal up to rounding, as the documentation says.
# Seen: without weights the second edge is dropped, so sums and means of neighbours change: 12 is 11 and a mean of 4 is 5.5.
# to_dense_adj says 2 for the same edges. With weights the two are added, which keeps sums, and changes max and mean instead. No
# warning. coalesce the edges first, with the weights that you mean.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch-geometric==2.8.1 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GraphConv
from torch_geometric.transforms import ToSparseTensor
from torch_geometric.utils import to_dense_adj, to_torch_coo_tensor, to_torch_csr_tensor

x, edges = torch.tensor([[1.0], [10.0], [100.0]]), torch.tensor([[0, 0, 1], [2, 2, 2]])


def received(aggr, weights):
    """Return what the last node receives, of each form of the graph."""
    layer = GraphConv(1, 1, aggr=aggr, bias=False)
    layer.lin_rel.weight.data[:], layer.lin_root.weight.data[:] = 1, 0
    made = ToSparseTensor(layout=torch.sparse_csr, attr="weight")(Data(x=x, edge_index=edges, weight=weights)).adj_t
    others = [make(edges, weights, size=(3, 3)).t() for make in (to_torch_csr_tensor, to_torch_coo_tensor)]
    results = [layer(x, edges, weights)] + [layer(x, each) for each in (made, *others)]
    return [round(result[2].item(), 3) for result in results]


dense = to_dense_adj(edges)[0, 0, 2].item()
weights = torch.tensor([1.0, 3.0, 0.1])
plain = {aggr: received(aggr, None) for aggr in ("add", "mean", "max")}
weighted = {aggr: received(aggr, weights) for aggr in ("add", "mean", "max")}
print("edge_index, then three matrices. Without weights:", plain, "with:", weighted, "to_dense_adj:", dense)
assert dense == 2
assert plain == {"add": [12] + [11] * 3, "mean": [4] + [5.5] * 3, "max": [10] * 4}, plain
assert weighted == {"add": [5] * 4, "mean": [1.667] + [2.5] * 3, "max": [3] + [4] * 3}, weighted
PY
