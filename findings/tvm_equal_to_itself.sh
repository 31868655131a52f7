#!/usr/bin/env bash
# apache-tvm 0.27.0.post1, a TensorIR function that looks for NaN by comparing a float32 number with itself.
#
# Guess: x == x is false for NaN, in compiled code as in C and in NumPy; compilers keep the comparison unless told that
# there are no NaN ("fast math"), which is off.
# Seen: the simplifier takes x == x for true and x != x for false, whatever the type, and the code has no comparison left:
# NaN passes for a number. isnan() and a look at the bits find it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
cat > "$folder/nan.py" <<'PY'
import numpy as np
import tvm
from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def main(x: T.Buffer((2,), "float32"), equal: T.Buffer((2,), "int32"), unequal: T.Buffer((2,), "int32"),
         by_call: T.Buffer((2,), "int32"), by_bits: T.Buffer((2,), "int32")):
    for i in range(2):
        equal[i] = T.Select(x[i] == x[i], 1, 0)
        unequal[i] = T.Select(x[i] != x[i], 1, 0)
        by_call[i] = T.Select(T.isnan(x[i]), 1, 0)
        by_bits[i] = T.Select(T.bitwise_and(T.reinterpret("int32", x[i]), 0x7FFFFFFF) > 0x7F800000, 1, 0)


built = tvm.compile(main, target=tvm.target.Target({"kind": "llvm"}))
x = np.array([1.0, np.nan], np.float32)
found = [tvm.runtime.tensor(np.zeros(2, np.int32)) for _ in range(4)]
built["main"](tvm.runtime.tensor(x), *found)
print("NumPy:", (x == x).astype(int).tolist(), (x != x).astype(int).tolist())
print("TVM:  ", *(array.numpy().tolist() for array in found))
PY
seen=$("$folder/venv/bin/python" -W ignore "$folder/nan.py")
echo "of 1 and NaN: x == x, x != x, isnan(x), bits"
echo "$seen"
test "$seen" = "NumPy: [1, 0] [0, 1]
TVM:   [1, 1] [0, 0] [0, 1] [0, 1]"
