#!/usr/bin/env bash
# onnxruntime 1.32.0, a linear layer as quantisers write it: DequantizeLinear of uint8 input and int8 weight, MatMul.
#
# Guess: it becomes one operator on 8-bit integers, MatMulIntegerToFloat, and a constant bias added behind it changes
# nothing of that: a linear layer nearly always has one.
# Seen: without a bias it does. With one, MatMul and Add are joined to a float32 Gemm first, and both DequantizeLinear stay:
# the "int8" layer multiplies float32 numbers and widens its input at every call. Only where the result is quantised
# again, and there is no bias, it is QLinearMatMul. One scale for the weight or one for each row makes no difference.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$folder/layer.py" <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TOKENS, INPUTS, OUTPUTS = 16, 64, 64


def operators(rows, bias):
    """The operators that a session runs; rows: a scale for each row of the weight."""
    random = np.random.default_rng(0)
    constants = {
        "w": random.integers(-127, 128, (INPUTS, OUTPUTS)).astype(np.int8),
        "ws": np.full(OUTPUTS, 0.01, np.float32) if rows else np.float32(0.01),
        "wz": np.zeros(OUTPUTS, np.int8) if rows else np.int8(0),
        "xs": np.float32(0.02), "xz": np.uint8(120), "b": np.ones(OUTPUTS, np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["wide"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["weight"], axis=1),
        helper.make_node("MatMul", ["wide", "weight"], ["product"]),
    ]
    if bias:
        nodes.append(helper.make_node("Add", ["product", "b"], ["y"]))
    result = nodes[-1].output[0]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [TOKENS, INPUTS])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, [TOKENS, OUTPUTS])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 3, sys.argv[1]
    onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return " ".join(node.op_type for node in onnx.load(sys.argv[1]).graph.node)


for bias in (False, True):
    print("with bias:   " if bias else "without bias:", operators(False, bias), "|", operators(True, bias))
PY
seen=$("$folder/venv/bin/python" "$folder/layer.py" "$folder/optimised.onnx")
echo "one scale for the weight | one for each row"
echo "$seen"
wide="DequantizeLinear DequantizeLinear Gemm"
test "$seen" = "without bias: MatMulIntegerToFloat | MatMulIntegerToFloat
with bias:    $wide | $wide"
