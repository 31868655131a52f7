#!/usr/bin/env bash
# onnxsim 0.8.1 with onnx 1.23.2 and onnxruntime 1.32.0: an ONNX file of float32 that scales in two steps, by
# 1e30 and 1e30, or by 1e-30 and 1e-30, as code does that keeps clear of overflow.
#
# Guess: a simplifier joins constants only where the result stays the same up to rounding; zeros stay zeros.
# Seen: it joins the two factors into one, which is infinity, and writes that into the file without a word: 0 becomes NaN, so a masked
# or pruned entry spoils its row, and 1e-30 infinity. Small factors join to 0. In float16 it leaves the two as they are. onnxslim and onnxscript's
# optimizer, given the same file, keep the two steps, as ONNX Runtime does when it optimises by itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxsim==0.8.1 onnxslim==0.1.98 onnxscript==0.7.2 onnx==1.23.2 onnx-ir==1.1.0 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime
import onnxscript.optimizer
import onnxsim
import onnxslim
from onnx import helper, numpy_helper

numbers = [0, 1e-30]


def scaled(factor):
    """Return a model that multiplies by a factor twice."""
    kind = helper.np_dtype_to_tensor_dtype(factor.dtype)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "one"], ["half"]), helper.make_node("Mul", ["half", "two"], ["y"])], "scales",
        [helper.make_tensor_value_info("x", kind, [2])], [helper.make_tensor_value_info("y", kind, [2])],
        [numpy_helper.from_array(factor, "one"), numpy_helper.from_array(factor, "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    return model


def run(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.array(numbers, np.float32)})[0]


ways = {
    "as it is": lambda model: model, "onnxslim": onnxslim.slim, "onnxscript": onnxscript.optimizer.optimize,
    "onnxsim": lambda model: onnxsim.simplify(model)[0],
}
seen = {name: run(way(scaled(np.array(1e30, np.float32)))) for name, way in ways.items()}
print(numbers, "times 1e30 twice:", seen)
for name, found in seen.items():
    np.testing.assert_array_equal(found, [np.nan, np.inf] if name == "onnxsim" else np.float32(numbers) * np.float32(1e30) * np.float32(1e30))
for factor in (np.array(1e-30, np.float32), np.array(300, np.float16)):
    made = onnxsim.simplify(scaled(factor))[0].graph
    left = [numpy_helper.to_array(each).item() for each in made.initializer]
    print(factor.dtype, "times", factor, "twice:", [node.op_type for node in made.node], left)
    assert (len(made.node), left) == ((1, [0]) if factor.dtype == np.float32 else (2, [300]))
PY
