#!/usr/bin/env bash
# openvino 2026.4.1 on a CPU, precision hint float32: operators of one NaN.
#
# Guess: NaN stays NaN through every function of one number, as in PyTorch, NumPy and ONNX Runtime.
# Seen: Relu makes it 0, Exp makes it infinity, HardSigmoid 1, Maximum and Minimum with 0 give 0, and a Softmax over 0 and NaN
# is 0 and NaN. Sigmoid, Tanh, Erf and Abs keep it. A network that is broken in its first layer gives ordinary numbers after
# its first Relu, so a check of the answers for NaN finds nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import openvino
from openvino import opset13 as op

zero, nan = np.float32(0), np.array([0, np.nan], np.float32)


def run(function):
    x = op.parameter([2], np.float32)
    model = openvino.Model([function(x)], [x])
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([nan])[0]


functions = {
    "relu": op.relu, "exp": op.exp, "hard_sigmoid": lambda x: op.hard_sigmoid(x, np.float32(0.2), np.float32(0.5)),
    "maximum": lambda x: op.maximum(x, op.constant(zero)), "minimum": lambda x: op.minimum(x, op.constant(zero)),
    "softmax": lambda x: op.softmax(x, 0), "sigmoid": op.sigmoid, "tanh": op.tanh, "erf": op.erf, "abs": op.abs,
}
seen = {name: run(function) for name, function in functions.items()}
for name, found in seen.items():
    print(f"{name:12} of 0 and NaN:", *found)
last = {name: float(found[1]) for name, found in seen.items()}
assert {name: x for name, x in last.items() if x == x} == {"relu": 0, "exp": np.inf, "hard_sigmoid": 1, "maximum": 0, "minimum": 0}, last
assert seen["softmax"][0] == 0
PY
