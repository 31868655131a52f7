#!/usr/bin/env bash
# ml_dtypes 0.6.0 with NumPy 2.4.6: sums and means of bfloat16 arrays, the type that NumPy has of no GPU or compiler by itself.
#
# Guess: NumPy adds numbers of 16 bits with care, as it does float16: in pairs, and means in float32. The mean of a thousand
# ones is 1.
# Seen: it adds one after the other and rounds each sum to bfloat16, so a sum of ones stops at 256: their mean is 0.256, the
# mean of 10,000 of them 0.0256, and std, cumsum and average follow. float16 is right. A product of matrices of the same
# numbers is right too, so one part of a program agrees with float32 and the next does not. Say dtype=np.float32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ml_dtypes==0.6.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import ml_dtypes
import numpy as np

ones = np.ones(1000, ml_dtypes.bfloat16)
seen = {
    "sum": float(ones.sum()),
    "mean": round(float(ones.mean()), 3),
    "mean of 10,000": round(float(np.ones(10_000, ml_dtypes.bfloat16).mean()), 4),
    "mean, float16": float(ones.astype(np.float16).mean()),
    "sum, float16": float(ones.astype(np.float16).sum()),
    "mean, dtype=float32": float(ones.mean(dtype=np.float32)),
    "product with itself": float(ones @ ones),
}
print(seen)
assert seen == {
    "sum": 256, "mean": 0.256, "mean of 10,000": 0.0256, "mean, float16": 1, "sum, float16": 1000,
    "mean, dtype=float32": 1, "product with itself": 1000,
}
PY
