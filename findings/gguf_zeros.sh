#!/usr/bin/env bash
# gguf 0.19.0 (the format of llama.cpp, in Python): a weight of which 80 % are exact zeros, in the file's 4 and 5 bit formats.
#
# Guess: every format keeps a zero a zero: a quantiser makes sure that zero has a code, and 0 is by far the commonest value.
# Seen: Q4_0, Q5_0 and Q8_0 do. Q4_1 and Q5_1 count from the smallest value of each block of 32 in 15 or 31 steps, and zero
# lies between two of them: 3 % of the zeros come back as zeros, the others as anything up to half a step. A pruned model
# in these formats is dense. And Q4_0 is not even: of 7 and -7 in a block the first is exact and the other becomes -6.125.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from gguf import GGMLQuantizationType, quants

random = np.random.default_rng(0)
weight = random.standard_normal((64, 256)).astype(np.float32) * 0.05
weight[random.random(weight.shape) < 0.8] = 0
zeros = weight == 0


def stored(array, name):
    kind = GGMLQuantizationType[name]
    return quants.dequantize(quants.quantize(array, kind), kind)


kept = {name: round(float((stored(weight, name)[zeros] == 0).mean()), 2) for name in ("Q4_0", "Q5_0", "Q8_0", "Q4_1", "Q5_1")}
print("zeros that are kept:", kept)
assert kept == {"Q4_0": 1, "Q5_0": 1, "Q8_0": 1, "Q4_1": 0.03, "Q5_1": 0.03}, kept
pairs = [stored(np.array([first, -first] * 16, np.float32), "Q4_0")[:2].tolist() for first in (7, -7)]
print("7 and -7 in Q4_0:", pairs)
assert pairs == [[7, -6.125], [-7, 6.125]], pairs
PY
