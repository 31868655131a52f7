#!/usr/bin/env bash
# openvino 2026.4.1 and onnxruntime 1.32.0 on a CPU: one ONNX file with QuantizeLinear, scale 1, zero points 0, 1 and 128.
#
# Guess: both do what ONNX defines: saturate(round(x / scale) + zero_point), halves to the even neighbour, before the zero
# point is added. Integers of the two are the same.
# Seen: OpenVINO adds the zero point first and rounds then. With an odd one every half goes the other way: 0.5 is 2 and not
# 1, -0.5 is 0 and not 1. With an even one they agree. DynamicQuantizeLinear, which chooses its zero point itself, so agrees
# for one input and is off by one step for the next.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

halves = np.array([-1.5, -0.5, 0.5, 1.5, 2.5, 2.4], np.float32)
differs = {}
for zero_point in (0, 1, 128):
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])], "round",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [len(halves)])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [len(halves)])],
        [numpy_helper.from_array(np.float32(1), "scale"), numpy_helper.from_array(np.uint8(zero_point), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    file = model.SerializeToString()
    core = openvino.Core()
    found = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([halves])[0]
    right = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": halves})[0]
    assert np.array_equal(right, np.clip(np.round(halves) + zero_point, 0, 255))
    print(f"zero point {zero_point}: {halves} become {right} in onnxruntime, {found} in openvino")
    differs[zero_point] = halves[found != right].tolist()
assert differs == {0: [], 1: [-0.5, 0.5, 1.5, 2.5], 128: []}, differs
PY
