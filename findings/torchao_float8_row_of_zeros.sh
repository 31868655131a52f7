#!/usr/bin/env bash
# torchao 0.18.0 with torch 2.13.0 on a CPU: quantize_ of a linear layer with one pruned row (all zeros) by its weight-only schemes.
#
# Guess: every scheme bounds its scale away from zero, so a row of zeros stays a row of zeros; it is the easiest row there is.
# Seen: int8 and 4-bit integers do. Float8WeightOnlyConfig divides by the row's largest number: the row becomes NaN, without
# an error, and so does its output for every input, in float32 and bfloat16. A pruned channel, or an expert that never got a
# token, breaks the model when it is stored. Rows of 1e-30 are fine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torchao==0.18.0 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY' 2> "$folder/warnings"
import torch
from torch import nn
from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_

torch.manual_seed(0)
seen = {}
for name, config in (
    ("int8", Int8WeightOnlyConfig()), ("int4", IntxWeightOnlyConfig(weight_dtype=torch.int4)), ("float8", Float8WeightOnlyConfig()),
):
    for dtype in (torch.float32, torch.bfloat16):
        for value in (0.0, 1e-30):
            layer = nn.Linear(64, 64, bias=False, dtype=dtype)
            layer.weight.data[3] = value
            model = nn.Sequential(layer)
            quantize_(model, config)
            result = model(torch.randn(2, 64, dtype=dtype)).isnan()
            assert not result[:, :3].any() and not result[:, 4:].any()
            seen[name, str(dtype)[6:], value] = bool(result[:, 3].all())
print("the row's output is NaN:", seen)
for (name, _, value), broken in seen.items():
    assert broken == (name == "float8" and value == 0), seen
PY
