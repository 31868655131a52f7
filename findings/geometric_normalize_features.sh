#!/usr/bin/env bash
# torch-geometric 2.8.1: the transform NormalizeFeatures ("row-normalizes the attributes to sum-up to one") of features that
# are not counts.
#
# Guess: each row is divided by its sum; zeros stay zeros, and rows sum to one, whatever the features are.
# Seen: it first subtracts the smallest number of the whole tensor, and it divides by no less than 1. With one negative
# number anywhere no zero is left (the exact zeros of bags of words, and the time that they save, are gone), and an empty
# row becomes uniform. Rows that sum to less than 1 are left as they are: [0.2, 0, 0.1] does not sum to one afterwards. For
# the counts of Cora none of this shows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch-geometric==2.8.1 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures

seen = {}
for name, rows in {
    "counts": [[1, 0, 3], [0, 0, 2], [0, 0, 0]],
    "one negative": [[0, -1, 3], [0, 0, 2], [0, 0, 0]],
    "small": [[0.2, 0, 0.1], [0, 0, 0.5], [0, 0, 0]],
}.items():
    x = torch.tensor(rows, dtype=torch.float32)
    found = NormalizeFeatures()(Data(x=x.clone())).x
    print(f"{name}: {rows} -> {[[round(value, 3) for value in row] for row in found.tolist()]}")
    seen[name] = (int((x == 0).sum()), int((found[x == 0] == 0).sum()), [round(total, 3) for total in found.sum(1).tolist()])
print("zeros before, of which zero after, sums of rows:", seen)
assert seen == {"counts": (6, 6, [1, 1, 0]), "one negative": (6, 0, [1, 1, 1]), "small": (6, 6, [0.3, 0.5, 0])}, seen
PY
