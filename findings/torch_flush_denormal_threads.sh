#!/usr/bin/env bash
# torch 2.13.0, torch.set_flush_denormal on the CPU, an elementwise operator on a tensor large enough for two threads.
#
# Guess: the switch holds for the process: after set_flush_denormal(True) and then (False) denormals are numbers again.
# Seen: it sets the mode of the calling thread only. PyTorch's other threads keep the mode of the moment at which they
# started. Switched on before the first parallel operator and off later, half of the tensor still comes out as zeros.
# Switched on after it, half of the tensor is not flushed. Each call returns True, "supported".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$folder/halves.py" <<'PY'
import sys

import torch

early = sys.argv[1] == "early"
torch.set_num_threads(2)
SIZE = 1 << 22


def zeros():
    """Zeros in 1.0 * x, x full of 1e-40 (made from bits, so that making it depends on no mode)."""
    x = torch.full((SIZE,), 71362, dtype=torch.int32).view(torch.float32)
    return int((x * 1.0).view(torch.int32).eq(0).sum())


if early:
    torch.set_flush_denormal(True)
    found = [zeros()]
    torch.set_flush_denormal(False)
else:
    found = [zeros()]
    torch.set_flush_denormal(True)
found.append(zeros())
print(f"torch {torch.__version__}, {sys.argv[1]}: of {SIZE} denormals flushed: {found}")
assert found == ([SIZE, SIZE // 2] if early else [0, SIZE // 2]), found
PY
OMP_NUM_THREADS=2 "$folder/venv/bin/python" "$folder/halves.py" early
OMP_NUM_THREADS=2 "$folder/venv/bin/python" "$folder/halves.py" late
