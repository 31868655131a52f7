#!/usr/bin/env bash
# apache-tvm 0.27.0.post1 with apache-tvm-ffi 0.1.14.post1: a kernel for a CUDA GPU that fills half of its results with minus
# infinity, as masks do; the source that tvm.compile leaves on a machine without a GPU.
#
# Guess: the source is CUDA C++ for each type of numbers.
# Seen: for float32 and float16 it is; for bfloat16 it says __float2bfloat16_rn(-inff), and no CUDA header has an inff. nvcc
# stops there ("identifier inff is undefined"); whoever keeps the source for later, as tvm.compile does, hears nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import re

import tvm
from tvm import te, tirx

target = tvm.target.Target({"kind": "cuda", "arch": "sm_90"}, host={"kind": "llvm"})
found = {}
for kind in ("float32", "float16", "bfloat16"):
    x = te.placeholder((64,), kind, "x")
    y = te.compute((64,), lambda i: te.if_then_else(i < 32, x[i], tirx.const(float("-inf"), kind)), "y")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, y]))
    schedule.bind(schedule.get_loops(schedule.get_sblock("y"))[0], "threadIdx.x")
    source = tvm.compile(schedule.mod, target=target).mod.imports[0].inspect_source("cuda")
    found[kind] = re.findall(r".*\binff\b.*", source)
    print(kind, found[kind] or "no inff")
assert found["float32"] == found["float16"] == [] != found["bfloat16"]
PY
