#!/usr/bin/env bash
# torch 2.13.0 with onnxscript 0.7.2, onnx 1.23.2 and onnxruntime 1.32.0: AvgPool2d and AvgPool3d with divisor_override, which makes a
# sum of a mean (divisor_override=1) or keeps its scale where channels or pixels were taken out, written to ONNX.
#
# Guess: ONNX's AveragePool has no such attribute, so the exporter multiplies by what is missing, or refuses.
# Seen: both exporters leave it out, in two dimensions and in three: a sum of four numbers is their mean, a quarter of it. No
# warning, and verify=True, which would compare the two, is off by default. TVM's importer of PyTorch does the same. A product
# behind a plain AvgPool is kept: pool(x) * (4 / divisor).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnx-ir==1.1.0 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - "$folder/model.onnx" <<'PY'
import logging
import sys

import numpy as np
import onnxruntime
import torch

logging.disable(logging.ERROR)
torch.manual_seed(0)
layers = {2: torch.nn.AvgPool2d, 3: torch.nn.AvgPool3d}
for dimensions, layer in layers.items():
    x = torch.rand(1, 1, *[4] * dimensions)
    for dynamo, opset in ((True, 20), (False, 17)):
        model = layer(2, divisor_override=1).eval()
        torch.onnx.export(model, (x,), sys.argv[1], dynamo=dynamo, opset_version=opset, input_names=["x"], verbose=False)
        session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
        ratio = model(x).numpy() / session.run(None, {"x": x.numpy()})[0]
        print(f"AvgPool{dimensions}d, dynamo={dynamo}: PyTorch's answer is", ratio.mean(), "times that of the file")
        assert np.allclose(ratio, 2**dimensions, rtol=1e-4)
PY
