#!/usr/bin/env bash
# apache-tvm 0.27.0.post1, a PrimFunc for LLVM that calls one packed function of another object file three times
# (tirx.call_cpacked), as a launcher of kernels that are compiled apart does.
#
# Guess: all calls refer to one undefined symbol, so that the object links with the one that defines it; functions of the
# same module are called by the name __tvm_ffi_NAME, and so are others.
# Seen: each call declares a function of its own: NAME, NAME.12, NAME.13, without the prefix that definitions have. One call
# links if the prefix is written by hand; of several, all but the first are symbols that no object can define, and the
# library fails when it is loaded or called. A name of its own for each call, and --defsym for the linker, is a way out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
cat > "$folder/calls.py" <<'PY'
import re

import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as TB


def launcher(name: str) -> tvm.tirx.PrimFunc:
    """A function that hands its argument to three calls of ``name``."""
    with IRBuilder() as builder, TB.prim_func(s_tir=True):
        TB.func_name("launcher")
        TB.func_attr({"global_symbol": "launcher"})
        tensor = TB.arg("tensor", tirx.Var("tensor", "handle"))
        for _ in range(3):
            TB.evaluate(tirx.call_cpacked(name, tensor))
    return builder.get()


def kernel() -> tvm.tirx.PrimFunc:
    """A function that does nothing."""
    with IRBuilder() as builder, TB.prim_func(s_tir=True):
        TB.func_name("kernel")
        TB.func_attr({"global_symbol": "kernel"})
        TB.arg("tensor", tirx.Var("tensor", "handle"))
        TB.evaluate(0)
    return builder.get()


def declared(module: tvm.IRModule) -> list[str]:
    """The symbols of other objects that the code calls and that have "kernel" in their names."""
    text = tvm.tirx.build(module, target=tvm.target.Target({"kind": "llvm"})).inspect_source("ll")
    names = re.findall(r"^declare i32 @(\w*kernel[\w.]*)\(", text, re.MULTILINE)
    return [re.sub(r"\d+$", "N", name) for name in sorted(names)]


print(len(declared(tvm.IRModule({"launcher": launcher("kernel"), "kernel": kernel()}))))
print(*declared(tvm.IRModule({"launcher": launcher("kernel")})))
print(*declared(tvm.IRModule({"launcher": launcher("__tvm_ffi_kernel")})))
PY
seen=$("$folder/venv/bin/python" -W ignore "$folder/calls.py")
echo "symbols of other objects: kernel in the same module; in another, by its name; in another, by its symbol"
echo "$seen"
test "$seen" = "0
kernel kernel.N kernel.N
__tvm_ffi_kernel __tvm_ffi_kernel.N __tvm_ffi_kernel.N"
