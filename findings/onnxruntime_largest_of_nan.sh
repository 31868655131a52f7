#!/usr/bin/env bash
# onnxruntime 1.32.0 on a CPU: the largest of numbers with a NaN among them, by the operators that have a maximum in them.
#
# Guess: one rule for all, and as in NumPy and PyTorch: the maximum of numbers and NaN is NaN.
# Seen: Max, of two tensors, gives NaN; ReduceMax, ArgMax and MaxPool pass over it and give the largest number. A classifier
# that ends in NaN still names a class by ArgMax, and a maximum that should tell of trouble does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def run(operator, numbers, *constants, kind=TensorProto.FLOAT, **attributes):
    names = [f"c{i}" for i in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], **attributes)], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, numbers.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(value, name) for name, value in zip(names, constants)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": numbers})[0].ravel().tolist()


x = np.array([[1, np.nan, 3, 2]], np.float32)
seen = {
    "Max with 0": run("Max", x, np.zeros_like(x)),
    "ReduceMax": run("ReduceMax", x, np.array([1])),
    "ArgMax": run("ArgMax", x, axis=1, kind=TensorProto.INT64),
    "MaxPool, windows of 2": run("MaxPool", x[None], kernel_shape=[2]),
}
for name, found in seen.items():
    print(f"{name}: {found}")
assert list(map(str, seen.values())) == ["[1.0, nan, 3.0, 2.0]", "[3.0]", "[2]", "[1.0, 3.0, 3.0]"], seen
PY
