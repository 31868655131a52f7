#!/usr/bin/env bash
# torch 2.13.0 with onnxscript 0.7.2, onnx 1.23.2 and onnxruntime 1.32.0: scaled_dot_product_attention with a query that may attend to
# no key (padding), written to ONNX by both exporters and for two opsets.
#
# Guess: each file gives what PyTorch gives for such a query, 0, since that is asked for often and was mended in the exporters.
# Seen: it depends. With a bool mask the new exporter gives the mean of all values at opset 20 and 0 at 23; the old one gives 0 at
# 17. With a float mask of -inf both give NaN, but 0 at opset 23. A transformer whose rows of padding are finite in PyTorch
# so has NaN in them, or a mean of its padding. Nothing warns, and all other rows are right.
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


class Attention(torch.nn.Module):
    def forward(self, q, mask):
        return torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)


torch.manual_seed(0)
q, may = torch.randn(1, 1, 3, 4), torch.tensor([[[[True, True, False], [False, False, False], [True, True, True]]]])
masks = {"bool": may, "float": torch.zeros(1, 1, 3, 3).masked_fill(~may, float("-inf"))}
seen = {}
for kind, mask in masks.items():
    right = Attention()(q, mask)[0, 0].numpy()
    assert (right[1] == 0).all()
    for dynamo, opset in ((True, 20), (True, 23), (False, 17)):
        names = {"input_names": ["q", "mask"], "output_names": ["y"]}
        torch.onnx.export(Attention(), (q, mask), sys.argv[1], dynamo=dynamo, opset_version=opset, verbose=False, **names)
        session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
        got = session.run(None, {"q": q.numpy(), "mask": mask.numpy()})[0][0, 0]
        assert np.allclose(got[[0, 2]], right[[0, 2]], atol=1e-5)
        mean = np.allclose(got[1], q[0, 0].mean(0).numpy(), atol=1e-5)
        seen[kind, dynamo, opset] = "NaN" if np.isnan(got[1]).all() else "mean" if mean else "0" if (got[1] == 0).all() else "other"
print(seen)
assert list(seen.values()) == ["mean", "0", "0", "NaN", "0", "NaN"]
PY
