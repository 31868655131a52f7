#!/usr/bin/env bash
# apache-tvm 0.27.0.post1, a PrimFunc for LLVM (x86-64-v3) with two loops, one after the other: sums in buffers of eight
# float32 numbers, then sums in buffers of four, each the width of a vector. No buffer of one loop is used in the other.
#
# Guess: that TVM lets buffers share memory whose lives do not overlap (StorageRewrite) saves bytes of the stack at most.
# Such small buffers become registers in LLVM, so the machine code is the same.
# Seen: a sum of four numbers is put into memory of eight, and LLVM then keeps the other half of it alive, from the loop
# before: each product of the second loop is blended into a register of twice its width (8 products, 8 blends, and one
# register on the stack), and the sums of the first loop stay alive through the second. Without the pass: 16 products of
# two turns, no blend. Kernels whose sums fill the registers lose them to the stack by it, in their longest loop too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
cat > "$folder/shared.py" <<'PY'
import re

import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as TB

ROWS = 4


def add_up(x, w, y, task, width):
    """y[task] = x w, in registers of ``width`` numbers: two for each of four rows."""
    lanes = TB.Ramp(0, 1, width)
    places = [TB.Ramp(s * width, 1, width) for s in range(2)]
    buffers = [[TB.alloc_buffer((width,), "float32", scope="global", layout=None) for _ in places] for _ in range(ROWS)]
    for row in buffers:
        for buffer in row:
            TB.buffer_store(buffer, TB.Broadcast(TB.float32(0), width), [lanes])
    with TB.serial(0, x.shape[0]) as k:
        for r, row in enumerate(buffers):
            for buffer, place in zip(row, places, strict=True):
                weight = TB.Broadcast(w[k, r], width)
                TB.buffer_store(buffer, buffer[lanes] + weight * x[k, place], [lanes])
    for r, row in enumerate(buffers):
        for buffer, place in zip(row, places, strict=True):
            TB.buffer_store(y, buffer[lanes], [task, r, place])


def function():
    with IRBuilder() as builder, TB.prim_func(s_tir=True):
        TB.func_name("main")
        TB.func_attr({"tirx.noalias": True, "global_symbol": "main"})
        n, k = (tvm.tirx.Var(name, "int64") for name in "nk")
        x = TB.arg("x", TB.buffer((k, 16), "float32", layout=None))
        w = TB.arg("w", TB.buffer((k, ROWS), "float32", layout=None))
        y, z = (TB.arg(name, TB.buffer((n, ROWS, 16), "float32", layout=None)) for name in "yz")
        with TB.sblock("root"):
            TB.reads([])
            TB.writes([])
            with TB.serial(0, n) as task:
                add_up(x, w, y, task, 8)
                with TB.If(task == n - 1), TB.Then():
                    add_up(x, w, z, task, 4)
    return builder.get()


def counts(code):
    """Of each innermost loop that multiplies: its multiplications and its blends."""
    lines, at, loops = code.splitlines(), {}, []
    for number, line in enumerate(lines):
        if label := re.match(r"(\.LBB\w+):", line):
            at[label[1]] = number
        elif (jump := re.search(r"\bj\w+\s+(\.LBB\w+)", line)) and jump[1] in at:
            loops.append((at[jump[1]], number))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    found = [[sum(name in line for line in lines[a:b]) for name in ("vfmadd", "vblendps")] for a, b in inner]
    return [tuple(each) for each in found if each[0]]


target = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
for left_out in ([], ["tirx.StorageRewrite"]):
    with tvm.transform.PassContext(disabled_pass=left_out):
        print(*counts(tvm.compile(function(), target=target).mod.inspect_source("asm")))
PY
seen=$("$folder/venv/bin/python" -W ignore "$folder/shared.py")
echo "(products, blends) of the loop with eight lanes and of that with four; as TVM compiles, then without StorageRewrite:"
echo "$seen"
test "$seen" = "(16, 0) (8, 8)
(16, 0) (16, 0)"
