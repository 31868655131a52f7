#!/usr/bin/env bash
# safetensors 0.8.0 with NumPy 2.4.6: safetensors.numpy.save of a transposed array and of every second element of one.
#
# Guess: the values come back, as from np.save; at worst it refuses, as safetensors.torch does for the same tensor ("you are
# trying to save a non contiguous tensor").
# Seen: neither. Shape and dtype are right and the values are those that lie in memory: a transposed matrix comes back as
# other numbers, and x[::2] as the first half of x. No error, no warning; the documentation asks for contiguous arrays, and
# nothing checks. np.ascontiguousarray before saving is the way out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from safetensors.numpy import load, save

weight = np.arange(6, dtype=np.float32).reshape(2, 3)
given = {"transposed": weight.T, "every second": np.arange(6, dtype=np.float32)[::2]}
found = load(save(given))
for name, array in given.items():
    print(f"{name}: saved {array.tolist()}, loaded {found[name].tolist()}")
assert found["transposed"].tolist() == [[0, 1], [2, 3], [4, 5]] != weight.T.tolist()
assert found["every second"].tolist() == [0, 1, 2]
copied = load(save({name: np.ascontiguousarray(array) for name, array in given.items()}))
assert all(np.array_equal(copied[name], array) for name, array in given.items())
PY
