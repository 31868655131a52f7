#!/usr/bin/env bash
# torch 2.13.0, torch.onnx.export(dynamo=False) of a torch.fx.GraphModule with dynamic_axes for a named input.
#
# Guess: it is traced like any nn.Module, whose outputs get names automatically. Only the input, which has dynamic axes,
# needs a name.
# Seen: AttributeError, "'Graph' object has no attribute 'outputs'", unless output_names is given too. The exporter takes
# every module with an attribute `graph` for TorchScript and asks that graph for names. The same model as a plain
# nn.Module needs none, and with both kinds of names the GraphModule exports and follows the size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 onnx==1.23.2
"$folder/venv/bin/python" -W ignore - <<'PY'
import io

import onnx
import torch

print("torch", torch.__version__)


def export(model, **more):
    file = io.BytesIO()
    axes = {"x": {0: "rows"}}
    try:
        torch.onnx.export(
            model, (torch.randn(2, 8),), file, dynamo=False, input_names=["x"], dynamic_axes=axes, **more
        )
    except AttributeError as error:
        return str(error)
    (given,) = onnx.load_from_string(file.getvalue()).graph.input
    return given.type.tensor_type.shape.dim[0].dim_param


plain = torch.nn.Sequential(torch.nn.Linear(8, 4)).eval()
traced = torch.fx.symbolic_trace(plain)
seen = {
    "nn.Module": export(plain),
    "GraphModule": export(traced),
    "GraphModule, output_names": export(traced, output_names=["y"]),
}
for name, found in seen.items():
    print(f"{name}: {found}")
wanted = ["rows", "'Graph' object has no attribute 'outputs'", "rows"]
assert list(seen.values()) == wanted, seen
PY
