#!/usr/bin/env bash
# apache-tvm 0.27.0.post1 with apache-tvm-ffi 0.1.14.post1, target llvm: max(cast(x, int32), 0) of an x of uint32.
#
# Guess: a cast between types of equal width keeps the bits, as in C and NumPy: 4294967295 becomes -1, and its maximum with 0
# is 0; an optimiser that cannot prove the sign keeps the maximum.
# Seen: the compiler holds a cast of an unsigned number to be no less than 0 and drops the maximum, while the code that it
# makes of the cast gives -1: the maximum of a number and 0 is -1. From uint8 to int8 it is right, and so it is by reinterpret.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import tvm
from tvm import te, tirx


def largest(numbers, kind, signed):
    """max(signed(x), 0) of each number."""
    x = te.placeholder(numbers.shape, str(numbers.dtype), "x")
    y = te.compute(numbers.shape, lambda i: tirx.max(signed(kind, x[i]), tirx.const(0, kind)), "y")
    result = tvm.runtime.tensor(np.zeros(numbers.shape, kind))
    tvm.compile(te.create_prim_func([x, y]), target="llvm")(tvm.runtime.tensor(numbers), result)
    return result.numpy()


for kind in ("int32", "int8"):
    numbers = np.array([0, 1, 2 ** (np.iinfo(kind).bits - 1), 2 ** np.iinfo(kind).bits - 1], "u" + kind)
    right = np.maximum(numbers.astype(kind), 0)
    cast = largest(numbers, kind, lambda kind, value: value.astype(kind))
    bits = largest(numbers, kind, tirx.reinterpret)
    print(f"{numbers} as {kind}, at least 0: {cast} by cast, {bits} by reinterpret; NumPy: {right}")
    assert (bits == right).all() and (cast == right).all() == (kind == "int8")
PY
