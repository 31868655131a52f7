#!/usr/bin/env bash
# torch 2.13.0: torch.export.export inside torch.nn.utils.parametrize.cached().
#
# Guess: export traces copies and leaves the model as it was; cached() only saves work.
# Seen: tracing puts its fake tensors into the cache. Until the block ends, the eager model computes with them: its
# weight and its results are FakeTensors without values, and nothing is raised. After the block all is well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$folder/cached.py" <<'PY'
import torch
from torch.nn.utils import parametrize


class Double(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


model = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
parametrize.register_parametrization(model[0], "weight", Double())
x, seen = torch.ones(2, 4), {}
with torch.no_grad(), parametrize.cached():
    torch.export.export(model, (x,))
    seen["inside"] = (type(model[0].weight).__name__, type(model(x)).__name__)
seen["after"] = (type(model[0].weight).__name__, type(model(x)).__name__)
print(seen)
assert seen == {"inside": ("FakeTensor", "FakeTensor"), "after": ("Tensor", "Tensor")}, seen
PY
"$folder/venv/bin/python" "$folder/cached.py"
