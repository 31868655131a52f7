#!/usr/bin/env bash
# torch 2.13.0: swa_utils.AveragedModel with the moving average of PyTorch (decay 0.5) and use_buffers=True, of a layer with pruning
# masks of type bool and float32 as buffers, and a counter; a mask is then set to zero.
#
# Guess: masks are not numbers to be averaged: a bool buffer is copied, as buffers are without use_buffers; at worst averaging bools
# is refused. A float mask of 0 and 1 ends as 0 after enough steps.
# Seen: bools are averaged as numbers and then cut to bool, and what is not 0 is True: the averaged mask keeps every connection that
# it ever had, after a thousand updates too, and the averaged model is dense. The counter rounds down and stops one short. The
# float mask is neither 0 nor 1 for 149 updates, and exactly 0 after that. Plain averaging (SWA) of the same model does refuse.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("mask", torch.tensor([True, True]))
        self.register_buffer("gate", torch.tensor([1.0, 1.0]))
        self.register_buffer("count", torch.tensor(10))


seen = {}
for use_buffers in (True, False):
    model = Masked()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=use_buffers)
    average.update_parameters(model)
    model.mask[0], model.gate[0], model.count = False, 0, torch.tensor(15)
    between = 0
    for _ in range(1000):
        average.update_parameters(model)
        between += int(0 < average.module.gate[0] < 1)
    now = average.module
    seen[use_buffers] = now.mask.tolist(), now.gate.tolist(), now.count.item(), between
    print("use_buffers", use_buffers, "- mask, gate, count, updates with a gate between 0 and 1:", seen[use_buffers])
assert seen[True][:3] == ([True, True], [0, 1], 14) and seen[True][3] > 20, seen
assert seen[False] == ([False, True], [0, 1], 15, 0), seen
average = AveragedModel(model, use_buffers=True)
try:
    for _ in range(2):
        average.update_parameters(model)
    raise SystemExit("plain averaging takes bools")
except RuntimeError as error:
    print("plain averaging:", error)
PY
