#!/usr/bin/env bash
# torch 2.13.0 on a CPU, float32: where the largest value stands several times in a row, as in scores of a pruned model.
#
# Guess: which of equal values topk returns is not promised, but one library decides once: topk(1), argmax, max and a
# descending sort name the same place, the first.
# Seen: argmax and max name the first. topk(1) names another from five elements on, and for a row of a hundred the first
# again; a sort that is not asked to be stable agrees with argmax up to sixteen elements only. A top-1 accuracy by topk and
# one by argmax differ for the same logits. sort(stable=True) and argmax agree always.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch

differs = {"topk": [], "sort": [], "stable sort": [], "max": []}
for size in (2, 3, 5, 10, 16, 17, 40, 100, 1000):
    scores = torch.zeros(size)
    scores[size // 3 :] = 1
    found = {
        "topk": scores.topk(1).indices.item(),
        "sort": scores.sort(descending=True).indices[0].item(),
        "stable sort": scores.sort(descending=True, stable=True).indices[0].item(),
        "max": scores.max(0).indices.item(),
    }
    print(size, "argmax", scores.argmax().item(), found)
    assert scores.argmax() == size // 3
    for name, place in found.items():
        if place != size // 3:
            differs[name].append(size)
print("other places than argmax:", differs)
assert differs["topk"][:1] == [5] and 100 not in differs["topk"], differs
assert differs["sort"] and 16 not in differs["sort"] and differs["max"] == differs["stable sort"] == [], differs
PY
