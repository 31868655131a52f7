#!/usr/bin/env bash
# torch 2.13.0, ml_dtypes 0.6.0 with NumPy 2.4.6, onnxruntime 1.32.0 and openvino 2026.4.1 on a CPU: casts of float32 to
# float8_e4m3fn, whose largest number is 448, and back. The last two run one ONNX file, a Cast that saturates (the default).
#
# Guess: all agree: 464 rounds to 448, and what is beyond is NaN, since the type has no infinity. Infinity is NaN everywhere.
# Seen: torch gives 448 for anything beyond, infinity included, so a broken activation becomes an ordinary number; ml_dtypes
# gives NaN for all of it. ONNX Runtime does as torch and as the standard says; OpenVINO gives NaN for the same file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 ml_dtypes==0.6.0 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$folder/venv/bin/python" -W ignore - <<'PY'
import ml_dtypes
import numpy as np
import onnxruntime
import openvino
import torch
from onnx import TensorProto, helper

numbers = np.array([1.0625, 464, 465, 1e5, np.inf, -np.inf, np.nan], np.float32)
graph = helper.make_graph(
    [helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.FLOAT8E4M3FN), helper.make_node("Cast", ["narrow"], ["y"], to=TensorProto.FLOAT)],
    "casts",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [len(numbers)])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(numbers)])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
model.ir_version = 10
file = model.SerializeToString()
core = openvino.Core()
compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
seen = {
    "torch": torch.from_numpy(numbers).to(torch.float8_e4m3fn).float().numpy(),
    "ml_dtypes": numbers.astype(ml_dtypes.float8_e4m3fn).astype(np.float32),
    "onnxruntime": onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": numbers})[0],
    "openvino": compiled([numbers])[0],
}
for name, found in seen.items():
    print(f"{name:12}", *found)
nan = np.nan
saturated, not_a_number = [1, 448, 448, 448, 448, -448, nan], [1, 448, nan, nan, nan, nan, nan]
for name, wanted in (("torch", saturated), ("onnxruntime", saturated), ("ml_dtypes", not_a_number), ("openvino", not_a_number)):
    assert np.array_equal(seen[name], wanted, equal_nan=True), name
PY
