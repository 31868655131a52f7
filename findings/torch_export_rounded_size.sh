#!/usr/bin/env bash
# torch 2.13.0, torch.export of a forward() that computes int(x.shape[1] * 0.5), that dimension given as Dim.DYNAMIC.
#
# Guess: non-strict export either keeps the size symbolic or refuses, as it does for len(x) ("your code specialized it").
# Seen: it succeeds and reports the range [4, oo) for the dimension, but has fixed the rounded size at 4: the exported
# module takes 8 and 9 and raises for every other size, with a guard that names the rounding. strict=True keeps the size
# symbolic and takes all of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
"$folder/venv/bin/python" - <<'PY'
import torch


class Half(torch.nn.Module):
    def forward(self, x):
        return x[:, : int(x.shape[1] * 0.5)] * 2


taken = {}
for strict in (False, True):
    shapes = ({1: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(Half(), (torch.randn(2, 8),), dynamic_shapes=shapes, strict=strict)
    module, taken[strict] = exported.module(), []
    for size in (6, 7, 8, 9, 10, 20):
        try:
            module(torch.randn(2, size))
            taken[strict].append(size)
        except AssertionError as error:
            print(f"strict={strict}, size {size}: {error}")
    print(f"strict={strict}: ranges {exported.range_constraints}, takes {taken[strict]}")
assert taken == {False: [8, 9], True: [6, 7, 8, 9, 10, 20]}, taken
PY
