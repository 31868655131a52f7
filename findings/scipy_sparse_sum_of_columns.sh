#!/usr/bin/env bash
# scipy 1.17.1: sums of the same float32 array as CSR and as CSC, and means of integers, beside NumPy's.
#
# Guess: the format is how it is stored, so sums are equal; each is added with care (in pairs or in float64), as NumPy adds.
# Seen: CSR adds columns one after the other in float32: a column of 20 million ones sums to 16,777,216, and the same array as CSC
# to 20 million; sum() of everything is right in both. The densities, degrees and counts of features of a long CSR array are
# so cut off. dtype=np.float64 widens the result only; astype before it helps. mean() multiplies by 1 / n and adds then, so the
# mean of 49 ones is not 1, for integers either.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import scipy.sparse

rows = 20_000_000
ones = np.ones(rows, np.float32)
column = scipy.sparse.csr_array((ones, np.zeros(rows, np.int32), np.arange(rows + 1, dtype=np.int32)), shape=(rows, 1))
sums = {kind: float(column.asformat(kind).sum(axis=0)[0]) for kind in ("csr", "csc")}
result_wide, wide = float(column.sum(axis=0, dtype=np.float64)[0]), float(column.astype(np.float64).sum(axis=0)[0])
print("the sum of 20 million ones:", sums, "CSR, dtype=float64:", result_wide, "of everything:", column.sum(), "NumPy:", ones.sum())
assert sums == {"csr": 2**24, "csc": rows} and column.sum() == ones.sum() == wide == rows and result_wide == 2**24
small = np.ones((1, 49), np.int64)
means = {kind: float(scipy.sparse.csr_array(small).asformat(kind).mean()) for kind in ("csr", "csc")}
print("the mean of 49 ones:", means, "NumPy:", small.mean())
assert small.mean() == 1 and all(mean != 1 for mean in means.values())
PY
