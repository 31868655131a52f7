#!/usr/bin/env bash
# scipy 1.17.1: maximum and minimum of two sparse arrays, or of one and a number, where one of them holds NaN.
#
# Guess: as NumPy's: NaN wherever one of the two is NaN, and a.maximum(b) equals b.maximum(a).
# Seen: NaN stays where the array on the left has it and is dropped where the one on the right has it: a.maximum(b) and
# b.maximum(a) are different, and a zero that is not stored takes the place of a NaN of the other. The reverse of what one would
# call a skipped NaN: nothing is skipped, the order decides. With a dense array on the right NaN is kept, as NumPy does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import scipy.sparse

left = np.array([[np.nan, 1, 0, np.nan, -1]])
right = np.array([[1, np.nan, np.nan, 0, 2]])
for kind in ("csr", "csc", "bsr", "coo"):
    a, b = scipy.sparse.csr_array(left).asformat(kind), scipy.sparse.csr_array(right).asformat(kind)
    for name in ("maximum", "minimum"):
        one, other = getattr(a, name)(b).toarray(), getattr(b, name)(a).toarray()
        dense = getattr(np, name)(left, right)
        print(kind, name, "a, b:", one[0], "b, a:", other[0], "NumPy:", dense[0])
        assert np.isnan(dense).tolist() == [[True, True, True, True, False]]
        assert np.isnan(one).tolist() == [[True, False, False, True, False]]
        assert np.isnan(other).tolist() == [[False, True, True, False, False]]
        assert np.array_equal(np.asarray(getattr(a, name)(right)), dense, equal_nan=True)
PY
