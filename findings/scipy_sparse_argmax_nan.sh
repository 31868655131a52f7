#!/usr/bin/env bash
# scipy 1.17.1: argmax and argmin of sparse arrays that hold a NaN, beside max and beside the dense array.
#
# Guess: as in NumPy: NaN is the largest, so argmax gives the place of the NaN, and max gives NaN; or NaN is passed over, and
# argmax gives the place of the largest number.
# Seen: neither. max is NaN, as guessed, but argmax gives the place of a zero that is not stored, whatever larger numbers the
# row has: of [nan, 0, 2] it is 1. With a full row it is the NaN's. argmin likewise. nanargmax does not exist for sparse arrays.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import scipy.sparse

dense = np.array([[np.nan, 0, 2, 9], [3, 5, 0, np.nan], [np.nan, 1, 2, 3]])
right = dense.argmax(axis=1).tolist()
assert right == [0, 3, 0] == dense.argmin(axis=1).tolist()
for kind in ("csr", "csc", "coo", "bsr"):
    array = scipy.sparse.csr_array(dense).asformat(kind)
    largest, smallest = array.argmax(axis=1).tolist(), array.argmin(axis=1).tolist()
    print(kind, "argmax", largest, "argmin", smallest, "of all", array.argmax(), "- max", array.max(axis=1).toarray())
    assert largest == smallest == [1, 2, 0] and array.argmax() == 1
    assert np.isnan(array.max(axis=1).toarray()).all()
PY
