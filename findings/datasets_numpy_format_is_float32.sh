#!/usr/bin/env bash
# datasets 5.0.1 (Hugging Face's) with pyarrow 26.0.1 and NumPy 2.4.6: columns read with with_format("numpy").
#
# Guess: arrays have the type that the column has (features says float64 and int64), as with the formats pandas, polars and arrow.
# Seen: every float column is float32: 16,777,217 comes as 16,777,216, and a probability of 1 - 1e-9 as 1. A column of int64 is
# int64, but in a batch that has a missing value it is float32 too: the row numbers of that batch alone are rounded, those of the
# next are right. No warning, and features still says int64. with_format("numpy", dtype=np.float64) gives the guess.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.0.1 pyarrow==26.0.1 numpy==2.4.6
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" "$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from datasets import Dataset

data = Dataset.from_dict({"x": [16_777_217.0, 1 - 1e-9, 0.5, 0.25], "row": [16_777_217, 16_777_219, 16_777_221, None]})
print(data.features)
assert [data.features[name].dtype for name in ("x", "row")] == ["float64", "int64"]
for kind in ("pandas", "arrow"):
    column = data.with_format(kind)[:2]["x"]
    assert np.asarray(column).dtype == np.float64 and np.asarray(column).tolist() == [16_777_217, 1 - 1e-9]
arrays = data.with_format("numpy")
for rows in (slice(0, 2), slice(2, 4)):
    batch = arrays[rows]
    print({name: (values.dtype.name, values.tolist()) for name, values in batch.items()})
    assert batch["x"].dtype == np.float32
    assert batch["row"].dtype == (np.int64 if rows.start == 0 else np.float32)
assert arrays[:2]["x"].tolist() == [16_777_216, 1] and arrays[:2]["row"].tolist() == [16_777_217, 16_777_219]
assert arrays[2:]["row"][0] == 16_777_220
wide = data.with_format("numpy", dtype=np.float64)[:2]["x"]
assert wide.dtype == np.float64 and wide[0] == 16_777_217
PY
