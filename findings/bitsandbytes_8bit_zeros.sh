#!/usr/bin/env bash
# bitsandbytes 0.50.2 with torch 2.13.0 on a CPU: quantize_blockwise (8 bits, the default map) of a weight of which 80 % are
# exact zeros.
#
# Guess: the map of 256 values has an exact 0, so zeros are zeros afterwards; the nearest value of 0 is 0.
# Seen: the map has it, at place 127, and not one zero gets it: they come back as small numbers above zero, four places
# further up, when other numbers are in their block. So do the moments of rows that never had a gradient, where optimisers
# keep those in 8 bits. The 4-bit formats, nf4 and fp4, keep all zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check bitsandbytes==0.50.2 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from bitsandbytes import functional

torch.manual_seed(0)
weight = torch.randn(64, 256) * 0.05
weight[torch.rand_like(weight) < 0.8] = 0
zeros = weight == 0
kept = {}
for kind in ("nf4", "fp4"):
    kept[kind] = (functional.dequantize_4bit(*functional.quantize_4bit(weight, quant_type=kind))[zeros] == 0).float().mean().item()
codes, state = functional.quantize_blockwise(weight)
back = functional.dequantize_blockwise(codes, state)
kept["8 bits"] = (back[zeros] == 0).float().mean().item()
print("share of zeros that are kept:", kept)
place = (state.code == 0).nonzero().flatten().tolist()
print("the map has 0 at", place, "zeros get", codes[zeros].unique().tolist(), "and become", back[zeros].unique().tolist())
assert kept == {"nf4": 1, "fp4": 1, "8 bits": 0}, kept
assert place == [127] and (back[zeros] > 0).all()
PY
