#!/usr/bin/env bash
# openvino 2026.4.1 on a CPU, precision hint float32: a model with integers of 64 bits, as tokens, hashes and row numbers are in
# PyTorch, and with float64.
#
# Guess: int64 inputs are computed with as int64; a plugin without it refuses, as others do.
# Seen: inputs, constants and results say int64 and all arithmetic is on 32 bits, without a word: 3,000,000,000 + 1 is
# -1294967295, 3,000,000,007 modulo 1,000 is -256. float64 is float32 inside: 1e300 comes back as 3.4e38, and 1 + 2^-30 is 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import openvino
from openvino import opset13 as op


def run(kind, function, *numbers):
    x = op.parameter([len(numbers)], kind)
    compiled = openvino.Core().compile_model(openvino.Model([function(x)], [x]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([np.array(numbers, kind)])[0]
    assert found.dtype == kind
    return found.tolist()


seen = {
    "3,000,000,000 + 1": run(np.int64, lambda x: op.add(x, op.constant(np.int64(1))), 3_000_000_000),
    "3,000,000,007 modulo 1,000": run(np.int64, lambda x: op.mod(x, op.constant(np.int64(1000))), 3_000_000_007),
    "1e300 and 2^-30, + 1": run(np.float64, lambda x: op.add(x, op.constant(np.float64(1))), 1e300, 2.0**-30),
}
for name, found in seen.items():
    print(name, "=", found)
assert list(seen.values())[:2] == [[-1294967295], [-256]], seen
assert seen["1e300 and 2^-30, + 1"] == [float(np.finfo(np.float32).max), 1], seen
PY
