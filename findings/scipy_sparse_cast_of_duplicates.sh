#!/usr/bin/env bash
# scipy 1.17.1: sparse arrays with two entries at one place, as of a graph with parallel edges, cast to another type. COO is documented
# to add them.
#
# Guess: they count as one entry, their sum, in whatever is done with the array; looking at an array does not change it.
# Seen: astype casts each by itself: 0.6 and 0.6 are 1.2, and as integers 0; 1 and -1 are 0, and as bool True. nonzero() names places
# twice, and those whose sum is 0. But after max(), abs() or argmax(), which add them in place, the same array gives 1, False and
# one place: what a mask of edges holds depends on what was asked before. sum_duplicates() first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import scipy.sparse

weights, places = np.array([1.0, -1.0, 0.6, 0.6]), np.array([0, 0, 1, 1])
coo = scipy.sparse.coo_array((weights, (places, places)), shape=(2, 2))
csr = scipy.sparse.csr_array((weights, places, np.array([0, 2, 4])), shape=(2, 2))


def cast(array):
    return array.astype(int).toarray().tolist(), array.astype(bool).toarray().tolist(), len(array.nonzero()[0])


for array in (coo, csr, csr.tobsr((1, 1))):
    assert np.array_equal(array.toarray(), [[0, 0], [0, 1.2]])
    before = cast(array)
    largest = array.max()
    after = cast(array)
    print(array.format, "integers, bool, nonzero:", *before, "- after max():", *after)
    assert before == ([[0, 0], [0, 0]], [[True, False], [False, True]], 4)
    assert largest == 1.2 and after == ([[0, 0], [0, 1]], [[False, False], [False, True]], 1)
PY
