#!/usr/bin/env bash
# apache-tvm 0.27.0.post1: tvm.runtime.load_module of a library that was replaced by another at the same path.
#
# Guess: load_module reads the file that is there; at worst it refuses, since the older one is still in use.
# Seen: while a module of the first library is alive, the second load silently returns the first one's code, because the
# dynamic loader knows libraries by their path. A copy of the same file under another name loads correctly, and so does
# the path itself once the first module is gone. A process that saves models to one path and loads them again gets the
# old code with the new weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.0
cd "$folder"
cat > two.py <<'PY'
import os

import numpy as np
import tvm
from tvm.script import tirx as T


def library(path, value):
    @T.prim_func
    def fill(a: T.Buffer((4,), "float32")):
        for i in range(4):
            a[i] = T.float32(value)

    draft = path + ".draft.so"
    module = tvm.IRModule({"fill": fill.with_attr("global_symbol", "fill")})
    tvm.compile(module, target=tvm.target.Target("llvm")).export_library(draft)
    os.replace(draft, path)


def answer(module):
    array = tvm.runtime.tensor(np.zeros(4, "float32"))
    module["fill"](array)
    return float(array.numpy()[0])


library("model.so", 1.0)
first = tvm.runtime.load_module("model.so")
seen = {"first": answer(first)}
library("model.so", 2.0)
second = tvm.runtime.load_module("model.so")
seen["replaced, same path"] = answer(second)
os.link("model.so", "other.so")
seen["replaced, other name"] = answer(tvm.runtime.load_module("other.so"))
print(seen)
assert seen == {"first": 1.0, "replaced, same path": 1.0, "replaced, other name": 2.0}, seen
PY
"$folder/venv/bin/python" two.py
