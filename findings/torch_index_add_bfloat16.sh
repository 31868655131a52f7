#!/usr/bin/env bash
# torch 2.13.0 on a CPU, sums of bfloat16 by place, which layers of graph networks use: index_add and its relatives.
#
# Guess: all of them add in float32 and round once, as sum() does in bfloat16; a thousand ones in one place are 1,000.
# Seen: scatter_add, scatter_reduce and embedding_bag do. index_add does it for the first and the last axis of a matrix, but
# of a vector, of an axis in the middle, or with any alpha it rounds after each addend and stops at 256, as
# index_put(accumulate=True) and segment_reduce always do. So x.index_add(0, i, y) is right, and the same for one channel,
# or with alpha=2 in the place of 2 * y, is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch

ones, places = torch.ones(1000, dtype=torch.bfloat16), torch.zeros(1000, dtype=torch.long)
zero, rows = torch.zeros(1, dtype=torch.bfloat16), torch.ones(1000, 3, dtype=torch.bfloat16)
zeros = torch.zeros(1, 3, dtype=torch.bfloat16)
seen = {
    "sum": ones.sum(),
    "scatter_add": zero.scatter_add(0, places, ones),
    "scatter_reduce": zero.scatter_reduce(0, places, ones, "sum"),
    "embedding_bag": torch.nn.functional.embedding_bag(places[None], zero.view(1, 1) + 1, mode="sum"),
    "index_add, float32": zero.float().index_add(0, places, ones.float()),
    "index_add, rows": zeros.index_add(0, places, rows),
    "index_add, columns": zeros.t().index_add(1, places, rows.t()),
    "index_add, rows, alpha=2": zeros.index_add(0, places, rows, alpha=2) / 2,
    "index_add, middle axis": zeros[None].index_add(1, places, rows[None]),
    "index_add, vector": zero.index_add(0, places, ones),
    "index_put": zero.index_put((places,), ones, accumulate=True),
    "segment_reduce": torch.segment_reduce(ones, "sum", lengths=torch.tensor([1000])),
}
seen = {name: total.flatten()[0].item() for name, total in seen.items()}
print(seen)
assert list(seen.values()) == [1000] * 7 + [256] * 5, seen
PY
