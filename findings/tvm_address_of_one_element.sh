#!/usr/bin/env bash
# apache-tvm 0.27.0.post1 with apache-tvm-ffi 0.1.14.post1: a local buffer of 32 floats, of which an external function is
# given eight places of four floats by address_of; the C source that tvm.compile makes of it.
#
# Guess: the buffer is allocated as declared, 128 bytes: a pointer has left, so nothing is known of what is read through it.
# Seen: 116 bytes. An address counts as a read of its one element, the last of which is element 28, and the buffer ends
# there; without a warning the last call gets a place for one float and not for four. Pointers that access_ptr makes (with
# "rw" and their extent) keep the buffer whole.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import re

import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder


def allocated(pointer):
    """Bytes of the local buffer in the generated code, where ``pointer(buffer, first)`` makes what the function gets."""
    with IRBuilder() as made:
        with builder.prim_func():
            builder.func_name("main")
            x = builder.arg("x", builder.buffer((32,), "float32"))
            y = builder.arg("y", builder.buffer((8,), "float32"))
            part = builder.alloc_buffer((32,), "float32", scope="local")
            with builder.serial(0, 8) as i:
                builder.evaluate(tirx.call_extern("int32", "copy_four", pointer(part, i * 4), tirx.address_of(x[i * 4])))
            with builder.serial(0, 8) as i:
                builder.buffer_store(y, part[i * 4], [i])
    source = tvm.compile(made.get(), target="c").mod.inspect_source()
    return int(re.search(r"TVMBackendAllocWorkspace\(1, dev_id, \(uint64_t\)(\d+)ULL", source)[1])


by_address = allocated(lambda part, first: tirx.address_of(part[first]))
by_access = allocated(lambda part, first: part.access_ptr("rw", offset=first, extent=4))
print(f"128 bytes were asked for: {by_address} with address_of, {by_access} with access_ptr")
assert (by_address, by_access) == (116, 128)
PY
