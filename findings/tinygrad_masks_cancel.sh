#!/usr/bin/env bash
# tinygrad 0.14.0 on its device PYTHON (no compiler needed; the rules are those of all devices): float32 arithmetic with masks.
#
# Guess: 0 / 0 is NaN, and (w * mask) / mask is NaN or at worst 0 where the mask is 0: a compiler of tensors may not divide by what it
# can't see.
# Seen: what is multiplied and divided again is dropped: (w * mask) / mask is w, so every pruned weight is back; x / x is 1 for 0,
# infinity and NaN. A mean of what is left, sum(w * mask) / sum(mask), is as it should be, since those are not the same number.
# w * 1e30 * 1e30 has one factor, infinity, and 0 becomes NaN. A cast to float16 and back rounds nothing, one to bfloat16 does.
# realize() between the two steps keeps all of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tinygrad==0.14.0
DEV=PYTHON PYTHON=1 "$folder/venv/bin/python" -W ignore - <<'PY'
import math

from tinygrad import Device, Tensor, dtypes

weight = Tensor([5.0, -3.0, 2.0, 7.0]).realize()
mask = Tensor([0.0, 1.0, 0.0, 1.0]).realize()
odd = Tensor([0.0, math.inf, math.nan, 4.0]).realize()
seen = {
    "(w * mask) / mask": ((weight * mask) / mask).tolist(),
    "in two steps": ((weight * mask).realize() / mask).tolist(),
    "x / x": (odd / odd).tolist(),
    "0 * 1e30 * 1e30": (odd * 1e30 * 1e30).tolist()[0],
    "float16 and back": weight.full_like(1.0001).contiguous().realize().cast(dtypes.half).cast(dtypes.float32).tolist()[0],
    "the same in two steps": weight.full_like(1.0001).contiguous().realize().cast(dtypes.half).realize().cast(dtypes.float32).tolist()[0],
    "bfloat16 and back": weight.full_like(1.0001).contiguous().realize().cast(dtypes.bfloat16).cast(dtypes.float32).tolist()[0],
}
for name, value in seen.items():
    print(name, value)
assert Device.DEFAULT == "PYTHON"
assert seen["(w * mask) / mask"] == [5, -3, 2, 7] and seen["x / x"] == [1, 1, 1, 1]
assert [math.isfinite(value) for value in seen["in two steps"]] == [False, True, False, True]
assert math.isnan(seen["0 * 1e30 * 1e30"])
assert abs(seen["float16 and back"] - 1.0001) < 1e-6 and seen["the same in two steps"] == seen["bfloat16 and back"] == 1
PY
