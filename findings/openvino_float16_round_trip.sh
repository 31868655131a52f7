#!/usr/bin/env bash
# openvino 2026.4.1 and onnxruntime 1.32.0 on a CPU: an ONNX file that casts to float16 and back, as models do that were trained
# with rounding in them; one with bfloat16 in its place.
#
# Guess: both round to 11 bits of mantissa, and 70,000, too large for float16, is infinity.
# Seen: ONNX Runtime does. OpenVINO drops the two casts to float16, so nothing is rounded and 70,000 stays, even when it is
# asked for float32 and for accuracy. The casts to bfloat16 it does where it says that the CPU has that type (AVX-512), and drops
# them where it has not (AVX2): one file gives other numbers on another machine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 ml_dtypes==0.6.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import ml_dtypes
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

numbers = np.array([1 / 3, 2049, 70_000], np.float32)
for kind, narrow in ((TensorProto.FLOAT16, np.float16), (TensorProto.BFLOAT16, ml_dtypes.bfloat16)):
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["narrow"], to=kind), helper.make_node("Cast", ["narrow"], ["y"], to=TensorProto.FLOAT)],
        "casts",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [len(numbers)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(numbers)])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    file = model.SerializeToString()
    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
    found = core.compile_model(core.read_model(file), "CPU", hints)([numbers])[0]
    right = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": numbers})[0]
    with np.errstate(over="ignore"):
        assert np.array_equal(right, numbers.astype(narrow).astype(np.float32))
    print(np.dtype(narrow).name, "onnxruntime", right, "openvino", found)
    has_type = narrow is not np.float16 and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert np.array_equal(found, right if has_type else numbers)
PY
