#!/usr/bin/env bash
# torch 2.13.0: torch.nn.utils.parametrizations.weight_norm of a linear layer with a row of zeros, as pruning leaves it.
#
# Guess: a reparametrization changes how the weight is stored and not what it is: its length 0 times any direction is a row
# of zeros.
# Seen: the row becomes NaN, 0 / 0, at once and without an error, and with it that output of the layer. The older
# torch.nn.utils.weight_norm does the same. A row of 1e-30, whose squares are too small for float32, is lost likewise; one of
# 1e-15 survives.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch.nn.utils import parametrizations, weight_norm

seen = {}
for name, wrap in (("parametrizations", parametrizations.weight_norm), ("older", weight_norm)):
    for value in (0.0, 1e-30, 1e-15):
        layer = torch.nn.Linear(4, 3)
        with torch.no_grad():
            layer.weight[1] = value
            before = layer(torch.ones(2, 4))
            after = wrap(layer)(torch.ones(2, 4))
        seen[name, value] = (bool(after[:, 1].isnan().all()), torch.allclose(before[:, [0, 2]], after[:, [0, 2]]))
        print(name, value, before[0].tolist(), after[0].tolist())
assert seen == {(name, value): (value < 1e-20, True) for name, value in seen}, seen
PY
