#!/usr/bin/env bash
# numba 0.68.0 with NumPy 2.4.6: sum, mean and std of a float32 array in a compiled function, beside the same in NumPy.
#
# Guess: @njit gives what NumPy gives, up to rounding: sums in pairs, or in float64; the mean of ones is 1 and their deviation 0.
# Seen: it adds one after the other in float32: of 20 million ones the sum is 16,777,216, the mean 0.839 and the deviation 0.161.
# Nothing is large or odd about them; a long enough column of labels, masks or densities is. With a dtype (sum(dtype=np.float64))
# it is right; mean and std take none, so astype(np.float64) before them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numba==0.68.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numba
import numpy as np


def measures(x):
    return x.sum(), x.mean(), x.std(), x.sum(dtype=np.float64)


ones = np.ones(20_000_000, np.float32)
compiled, plain = numba.njit(measures)(ones), measures(ones)
print("sum, mean, std, sum(dtype=float64): compiled", compiled, "NumPy", [float(value) for value in plain])
assert [float(value) for value in plain] == [2e7, 1, 0, 2e7]
assert compiled[0] == 2**24 and abs(compiled[1] - 0.8389) < 1e-3 and abs(compiled[2] - 0.161) < 1e-2 and compiled[3] == 2e7
PY
