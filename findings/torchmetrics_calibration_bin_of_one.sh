#!/usr/bin/env bash
# torchmetrics 1.9.0, multiclass_calibration_error and binary_calibration_error, of predictions with a confidence of 1.
#
# Guess: n_bins=15 makes the 15 bins of Guo et al. 2017, ((m-1)/15, m/15]: 1 is in the last one, with 0.95, where a
# prediction that is too sure and one that is not sure enough cancel. With n_bins=1 the error is |accuracy - confidence|.
# Seen: bins are closed on the left, and a confidence of exactly 1 is in a 16th bin of its own. With n_bins=1 there are
# two bins. Confidence is float32, where 1 - 3e-8 is 1: the error of a saturated model jumps when it gets a little
# surer, and differs from that of other libraries for the same predictions: here 0.525 in place of 0.475, and 0.75 in
# place of 0.25.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
"$folder/venv/bin/python" - <<'PY'
import torch
from torchmetrics.functional.classification import multiclass_calibration_error


def error(confidences, correct, bins):
    # Class 1 is always predicted, with these probabilities; the label is 1 where that is right.
    p = torch.tensor(confidences, dtype=torch.float64)
    found = multiclass_calibration_error(torch.stack((1 - p, p), 1), torch.tensor(correct), num_classes=2, n_bins=bins)
    return round(float(found), 4)


seen = {
    "1 wrong, 0.95 right, 15 bins": error([1.0, 0.95], [0, 1], 15),
    "nearly 1 wrong, 0.95 right, 15 bins": error([1.0 - 1e-7, 0.95], [0, 1], 15),
    "1 wrong, 0.5 right, 1 bin": error([1.0, 0.5], [0, 1], 1),
    "1 - 1e-8 wrong, 0.5 right, 1 bin": error([1.0 - 1e-8, 0.5], [0, 1], 1),
}
print(seen)
assert seen == {
    "1 wrong, 0.95 right, 15 bins": 0.525,
    "nearly 1 wrong, 0.95 right, 15 bins": 0.475,
    "1 wrong, 0.5 right, 1 bin": 0.75,
    "1 - 1e-8 wrong, 0.5 right, 1 bin": 0.75,
}, seen
PY
