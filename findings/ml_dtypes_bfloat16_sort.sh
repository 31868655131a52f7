#!/usr/bin/env bash
# ml_dtypes 0.6.0 with NumPy 2.4.6: np.sort, np.argsort and np.unique of a bfloat16 array with one NaN in it.
#
# Guess: as for all of NumPy's floating types NaN is sorted to the end and the rest is in order.
# Seen: nothing is sorted across the NaN: [5, nan, 1, 2] comes back as it was, and so do unique() and argsort(), whose callers
# (ranks, quantiles, searches by bisection) then rely on an order that is not there. max() and median() do give NaN, so a
# look at those finds nothing odd about sort. Widen to float32 first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ml_dtypes==0.6.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import ml_dtypes
import numpy as np

numbers = np.array([5, np.nan, 1, 2], np.float32)
narrow = numbers.astype(ml_dtypes.bfloat16)
for function in (np.sort, np.unique, np.argsort):
    print(function.__name__, function(numbers), function(narrow))
as_it_was = [5.0, "nan", 1.0, 2.0]
for function in (np.sort, np.unique):
    assert [float(x) if x == x else "nan" for x in function(narrow).astype(np.float32)] == as_it_was
    assert function(numbers)[:3].tolist() == [1, 2, 5]
assert np.argsort(narrow).tolist() == [0, 1, 2, 3]
assert np.searchsorted(np.sort(narrow), ml_dtypes.bfloat16(2)) != 1  # where 2 belongs among 1, 2, 5
assert np.sort(narrow[[0, 2, 3]]).tolist() == [1, 2, 5]
PY
