#!/usr/bin/env bash
# torch 2.13.0 on a CPU: nn.MultiheadAttention and nn.TransformerEncoderLayer in eval mode, two sentences of which one is all padding.
#
# Guess: the same call gives the same numbers. Whether weights are returned too, or gradients are recorded, changes what is kept,
# not what is computed: the row that attends to nothing is 0, as of scaled_dot_product_attention, or NaN, in all cases.
# Seen: attention gives NaN with need_weights=True, which is the default; with need_weights=False it gives the bias of the output
# with gradients on, and NaN under no_grad. A layer of an encoder, which asks for no weights, is finite with gradients and NaN
# under no_grad: what is looked at in training is not what is served. set_fastpath_enabled(False) makes the two equal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch import nn

torch.manual_seed(0)
x, padding = torch.randn(2, 3, 8), torch.tensor([[False, False, True], [True, True, True]])
attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
calls = {
    "attention": lambda: attention(x, x, x, key_padding_mask=padding)[0],
    "attention, need_weights=False": lambda: attention(x, x, x, key_padding_mask=padding, need_weights=False)[0],
    "encoder layer": lambda: layer(x, src_key_padding_mask=padding),
}


def broken(call):
    """Say whether the padded sentence is NaN with gradients and without; the other sentence never is."""
    found = []
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            result = call().isnan()
        assert not result[0].any()
        found.append(bool(result[1].all()))
    return found


seen = {name: broken(call) for name, call in calls.items()}
print("NaN with gradients, under no_grad:", seen)
assert list(seen.values()) == [[True, True], [False, True], [False, True]], seen
torch.backends.mha.set_fastpath_enabled(False)
seen = {name: broken(call) for name, call in calls.items()}
print("without the fast path:", seen)
assert list(seen.values()) == [[True, True], [False, False], [False, False]], seen
PY
