#!/usr/bin/env bash
# onnxruntime 1.32.0: MatMulNBitsQuantizer (4 bits, blocks of 32) of a weight of which 80 % are exact zeros; the weight that
# the quantised model multiplies by, read off with a unit matrix.
#
# Guess: rounding to 4 bits makes more zeros and loses none: zero points are integers so that zero is exact.
# Seen: with the default and with RTN that is so. HQQ, offered beside them by the same class as the more precise one, has
# zero points that are not integers: one zero in a hundred is left, and a pruned weight is dense. The operator is the same, and
# only the type of its zero points tells.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 onnx-ir==1.1.0 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import matmul_nbits_quantizer as nbits

logging.disable()
random = np.random.default_rng(0)
weight = random.standard_normal((256, 64)).astype(np.float32) * 0.05
weight[random.random(weight.shape) < 0.8] = 0


def multiplied(method):
    """The weight that the quantised model computes with."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [256, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [256, 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    quantizer = nbits.MatMulNBitsQuantizer(model, block_size=32, algo_config=method)
    quantizer.process()
    made = quantizer.model.model
    types = [onnx.TensorProto.DataType.Name(each.data_type) for each in made.graph.initializer]
    print([node.op_type for node in made.graph.node], types)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(256, dtype=np.float32)})[0]


kept = {}
for method in (nbits.DefaultWeightOnlyQuantConfig(block_size=32), nbits.RTNWeightOnlyQuantConfig(), nbits.HQQWeightOnlyQuantConfig(block_size=32)):
    seen = multiplied(method)[weight == 0]
    kept[method.algorithm] = float((seen == 0).mean())
    print(method.algorithm, "keeps", kept[method.algorithm], "of the zeros; the largest is", np.abs(seen).max())
assert kept["DEFAULT"] == kept["RTN"] == 1 and kept["HQQ"] < 0.05, kept
PY
