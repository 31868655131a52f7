#!/usr/bin/env bash
# torchmetrics 1.9.0, classification metrics of logits, given batch by batch.
#
# Guess: metrics take logits ("will auto apply softmax per sample" if values lie outside [0, 1]), so a stream of logits
# has the same calibration error, whatever the size of its batches.
# Seen: one value outside of [0, 1] anywhere in a batch decides for all of its rows, and a batch whose logits all happen
# to lie within [0, 1] is taken for probabilities that need not even sum to 1. Logits of a gated or regularized model
# are small, so that happens, and the same eight predictions have three different errors in batches of 8, 4 and 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
"$folder/venv/bin/python" - <<'PY'
import torch
from torchmetrics.classification import MulticlassCalibrationError

logits = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.9], [0.95, 0.9], [0.1, 0.6], [2.0, 0.5], [0.7, 0.3], [0.4, 0.6]])
labels = torch.tensor([0, 1, 1, 0, 1, 0, 1, 0])
seen = {}
for size in (8, 4, 1):
    metric = MulticlassCalibrationError(num_classes=2, n_bins=15)
    for start in range(0, 8, size):
        metric.update(logits[start : start + size], labels[start : start + size])
    seen[size] = round(float(metric.compute()), 3)
metric = MulticlassCalibrationError(num_classes=2, n_bins=15)
metric.update(torch.softmax(logits, 1), labels)
seen["softmax"] = round(float(metric.compute()), 3)
print(seen)
assert seen[8] == seen["softmax"] and len({seen[8], seen[4], seen[1]}) == 3, seen
PY
