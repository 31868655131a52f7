#!/usr/bin/env bash
# openvino 2026.4.1 and onnxruntime 1.32.0 on a CPU: ONNX's Resize of an image to 60 % with antialias=1, as exporters write it
# for PyTorch's interpolate(antialias=True).
#
# Guess: both smooth before they sample, or OpenVINO refuses an attribute that it can't do.
# Seen: in mode linear and in mode cubic OpenVINO gives exactly what it gives without antialias: the attribute is dropped
# without a word; the pixels of a picture of noise differ by up to two standard deviations. exclude_outside is dropped too.
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

image = np.random.default_rng(0).standard_normal((1, 1, 20, 20)).astype(np.float32)


def both(**attributes):
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 1, 0.6, 0.6], np.float32), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    file, core = model.SerializeToString(), openvino.Core()
    found = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0]
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": image})[0], found


for attributes in ({"mode": "linear", "antialias": 1}, {"mode": "cubic", "antialias": 1}, {"mode": "cubic", "exclude_outside": 1}):
    right, found = both(**attributes)
    plain, without = both(mode=attributes["mode"])
    print(attributes, "largest difference:", np.abs(right - found).max(), "without the attribute:", np.abs(plain - without).max())
    assert np.array_equal(found, without) and np.abs(plain - without).max() < 1e-4 < 0.05 < np.abs(right - found).max()
PY
