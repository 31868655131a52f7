#!/usr/bin/env bash
# torch 2.13.0, torch.nn.functional.gelu (exact, float32) on the CPU, of infinity and of the largest numbers. Needs AVX-512.
#
# Guess: gelu(x) is x for large x, so gelu(inf) is inf and gelu(3e38) is 3e38, whatever the layout or length of the tensor.
# Seen: where oneDNN has AVX-512, a contiguous tensor of two elements or more gives NaN for inf, and inf for 3e38. The same
# numbers in one element, in every second place of a tensor, in float64, with approximate="tanh", or with oneDNN held to
# AVX2 come out right. One infinite activation so becomes NaN on one machine and not on the next.
set -euo pipefail
if ! grep -q avx512f /proc/cpuinfo; then
    echo "this CPU has no AVX-512: nothing to see"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$folder/gelu.py" <<'PY'
import torch
from torch.nn.functional import gelu

large = torch.tensor([float("inf"), 3e38])
places = torch.zeros(2, 2)
places[:, 0] = large
print(
    [f"{value:.2g}" for value in gelu(large).tolist()],
    [f"{gelu(value.reshape(1)).item():.2g}" for value in large],
    [f"{value:.2g}" for value in gelu(places[:, 0]).tolist()],
    [f"{value:.2g}" for value in gelu(large.double()).tolist()],
    [f"{value:.2g}" for value in gelu(large, approximate="tanh").tolist()],
)
PY
wide=$("$folder/venv/bin/python" -W ignore "$folder/gelu.py")
narrow=$(ONEDNN_MAX_CPU_ISA=AVX2 "$folder/venv/bin/python" -W ignore "$folder/gelu.py")
echo "contiguous, one element, every second place, float64, tanh"
echo "AVX-512: $wide"
echo "AVX2:    $narrow"
right="['inf', '3e+38']"
test "$wide" = "['nan', 'inf'] $right $right $right $right"
test "$narrow" = "$right $right $right $right $right"
