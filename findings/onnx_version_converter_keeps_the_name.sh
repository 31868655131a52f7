#!/usr/bin/env bash
# onnx 1.23.2 with onnxruntime 1.32.0: onnx.version_converter, which writes a model of an older opset as one of a newer, for operators
# whose meaning or defaults changed in between.
#
# Guess: the result computes the same, that is what it is for; where it can't, it raises, as it does for operators without an adapter.
# Seen: Softmax and LogSoftmax are rewritten with care. Upsample and Resize in mode linear keep their name alone: from opset 11 on the
# default is half_pixel where it was asymmetric, so [0, 1, 2, 3] becomes [0, 0.25, 0.75, ...] and not [0, 0.5, 1, ...]. Hardmax keeps
# its name too: it took the largest of all axes from the given one on, and takes it of that axis alone. No error, and the checker
# is content.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnx.version_converter
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def model(opset, name, inputs, **attributes):
    graph = helper.make_graph(
        [helper.make_node(name, inputs, ["y"], **attributes)], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 1, 1, 2], np.float32), "scales")] if len(inputs) > 1 else [],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def answer(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, {"x": x})[0]


x = np.array([0, 1, 2, 3], np.float32) + np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
resized = ["x", "scales"]
cases = {
    "Softmax": (model(11, "Softmax", ["x"], axis=1), True),
    "LogSoftmax": (model(11, "LogSoftmax", ["x"], axis=1), True),
    "Hardmax": (model(11, "Hardmax", ["x"], axis=1), False),
    "Resize nearest": (model(10, "Resize", resized, mode="nearest"), True),
    "Resize linear": (model(10, "Resize", resized, mode="linear"), False),
    "Upsample linear": (model(9, "Upsample", resized, mode="linear"), False),
}
for name, (old, kept) in cases.items():
    new = onnx.version_converter.convert_version(old, 13)
    onnx.checker.check_model(new, full_check=True)
    before, after = answer(old, x), answer(new, x)
    print(name, "equal:", np.allclose(before, after), before[0, 0, 0], after[0, 0, 0])
    assert np.allclose(before, after) == kept
PY
