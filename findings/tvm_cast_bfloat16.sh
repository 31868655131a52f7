#!/usr/bin/env bash
# apache-tvm 0.27.0.post1, target llvm: casts of float32 to bfloat16.
#
# Guess: a cast rounds to nearest, NaN stays NaN, and a cast to bfloat16 and back leaves eight bits of mantissa.
# Seen: the cast adds a rounding constant to the bits without a look at NaN: the NaN 0x7f800001 becomes infinity, and the
# NaN 0x7fffffff becomes minus zero. A cast to bfloat16 and back to float32 in one expression is dropped: nothing is
# rounded, so a fused kernel and an unfused one differ.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.0 ml_dtypes==0.5.4
cat > "$folder/casts.py" <<'PY'
import ml_dtypes
import numpy as np
import tvm
from tvm.script import tirx as T


@T.prim_func
def narrow(a: T.Buffer((4,), "float32"), b: T.Buffer((4,), "bfloat16")):
    for i in range(4):
        b[i] = T.Cast("bfloat16", a[i])


@T.prim_func
def there_and_back(a: T.Buffer((4,), "float32"), b: T.Buffer((4,), "float32")):
    for i in range(4):
        b[i] = T.Cast("float32", T.Cast("bfloat16", a[i]))


functions = {"narrow": narrow, "there_and_back": there_and_back}
module = tvm.IRModule({name: function.with_attr("global_symbol", name) for name, function in functions.items()})
built = tvm.compile(module, target=tvm.target.Target("llvm"))


def bits(name, result, as_integers):
    source = np.array([0x7F800001, 0x7FFFFFFF, 0x7FC00000, 0x3F800001], np.uint32).view(np.float32)
    out = tvm.runtime.tensor(np.zeros(4, result))
    built[name](tvm.runtime.tensor(source), out)
    return [hex(value) for value in out.numpy().view(as_integers)]


seen = {
    "narrow": bits("narrow", ml_dtypes.bfloat16, np.uint16),
    "there and back": bits("there_and_back", np.float32, np.uint32),
}
print(seen)
assert seen == {
    "narrow": ["0x7f80", "0x8000", "0x7fc0", "0x3f80"],
    "there and back": ["0x7f800001", "0x7fffffff", "0x7fc00000", "0x3f800001"],
}, seen
PY
"$folder/venv/bin/python" "$folder/casts.py"
