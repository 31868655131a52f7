#!/usr/bin/env bash
# torch-geometric 2.8.0.post1 with torch 2.13.0: graphs that have numbers of their own (an attribute of the graph), put into a batch.
#
# Guess: a batch joins attributes as they are; edge_index alone, or what is documented ("index" in a name), is shifted to count
# the nodes of all graphs.
# Seen: so is whatever has "batch" anywhere in its name, by one more than the largest number before: a column "batch_norm_mean" of 4, 4
# and 4 comes out as 4, 9 and 14, floats too, and a price_index of 1.5 as 1.5, 4.5 and 7.5. A model is trained on numbers that grow
# with the place in the batch. Taken apart again, by batch[2], each graph says what it said, so a look at single graphs finds nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torch-geometric==2.8.0.post1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch_geometric.data import Batch, Data

names = {"price_index": 1.5, "batch_norm_mean": 4.0, "num_batches": 5, "minibatch_loss": 0.25, "mean_price": 1.5, "indicator": 1.5}
edges = torch.tensor([[0, 1], [1, 2]])
graphs = [Data(x=torch.ones(3, 1), edge_index=edges, **{name: torch.tensor([value]) for name, value in names.items()}) for _ in range(3)]
batch = Batch.from_data_list(graphs)
for name, value in names.items():
    print(name, batch[name].tolist(), "- of the last graph alone:", batch[2][name].tolist())
    assert batch[2][name].tolist() == [value]
    step = 3 if "index" in name else int(value) + 1 if "batch" in name else 0  # the number of nodes, or the largest integer and one
    assert batch[name].tolist()[:2] == [value, value + step]
assert batch["batch_norm_mean"].tolist() == [4, 9, 14] and batch["mean_price"].tolist() == [1.5] * 3
PY
