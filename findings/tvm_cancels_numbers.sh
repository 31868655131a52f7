#!/usr/bin/env bash
# apache-tvm 0.27.0.post1 with apache-tvm-ffi 0.1.14.post1, target llvm: float32 expressions whose value algebra seems to know.
#
# Guess: floating-point operations are compiled as they are written, as C compilers do without -ffast-math; at most constants
# are folded, with the same rounding.
# Seen: what is added and subtracted again is dropped: (x + 1.5 * 2^23) - 1.5 * 2^23, which rounds to integers, is x. x - x is 0 for
# infinity and NaN as well, x * 0 is 0 for them, and 0 / x is 0 for 0. Written as a sum, (x + c) + (-c) and x + (-x), nothing is
# dropped, and the machine code is a subtraction all the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
cat > "$folder/cancel.py" <<'PY'
import numpy as np
import tvm
from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def main(x: T.Buffer((4,), "float32"), y: T.Buffer((6, 4), "float32")):
    for i in range(4):
        y[0, i] = (x[i] + T.float32(12582912)) - T.float32(12582912)
        y[1, i] = x[i] - x[i]
        y[2, i] = x[i] * T.float32(0)
        y[3, i] = T.float32(0) / x[i]
        y[4, i] = (x[i] + T.float32(12582912)) + T.float32(-12582912)
        y[5, i] = x[i] + x[i] * T.float32(-1)


x = np.array([0.75, 0, np.inf, np.nan], np.float32)
found = tvm.runtime.tensor(np.zeros((6, 4), np.float32))
tvm.compile(main, target=tvm.target.Target({"kind": "llvm"}))["main"](tvm.runtime.tensor(x), found)
found = found.numpy()
names = ("(x + c) - c", "x - x", "x * 0", "0 / x", "(x + c) + -c", "x + -x")
for name, row in zip(names, found):
    print(name, "of", x, "is", row)
nan, inf = np.nan, np.inf
right = [[1, 0, inf, nan], [0, 0, nan, nan], [0, 0, nan, nan], [0, nan, 0, nan], [1, 0, inf, nan], [0, 0, nan, nan]]
wrong = [x.tolist(), [0] * 4, [0] * 4, [0] * 4, *right[4:]]
assert np.array_equal(found, np.array(wrong, np.float32), equal_nan=True)
PY
"$folder/venv/bin/python" -W ignore "$folder/cancel.py"
