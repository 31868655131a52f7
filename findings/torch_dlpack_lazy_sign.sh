#!/usr/bin/env bash
# torch 2.13.0, NumPy 2.4.6, apache-tvm-ffi 0.1.14.post1: a tensor whose sign is only noted (z.conj().imag is one, and a
# tensor like any other for all of PyTorch) handed to another library by DLPack.
#
# Guess: DLPack can say neither "negative" nor "conjugate", so the exporter writes the values out or refuses, as .numpy()
# does and as __dlpack__ does for the conjugate bit.
# Seen: for the negative bit __dlpack__ hands over the memory as it is: np.from_dlpack gives the values with the wrong sign.
# tvm_ffi takes a shorter way into PyTorch, on which neither bit is looked at: the conjugate is lost too. resolve_neg() and
# resolve_conj() before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 apache-tvm-ffi==0.1.14.post1
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import torch
import tvm_ffi

z = torch.tensor([1 + 2j, 3 - 1j])
negative, conjugate = z.conj().imag, z.conj()
echo = tvm_ffi.convert(lambda tensor: tensor)


def attempt(function, tensor):
    try:
        found = function(tensor)
    except (RuntimeError, BufferError) as error:
        return str(error).splitlines()[0][:60]
    return found.tolist()


ways = {"numpy()": lambda t: t.numpy(), "np.from_dlpack": np.from_dlpack, "a function of tvm_ffi": echo}
for name, tensor in (("negative bit", negative), ("conjugate bit", conjugate)):
    print(f"{name}: PyTorch says {tensor.tolist()}")
    for way, function in ways.items():
        print(f"    {way}: {attempt(function, tensor)}")
assert negative.tolist() == [-2, 1]
assert attempt(np.from_dlpack, negative) == attempt(echo, negative) == [2, -1]
assert attempt(echo, conjugate) == z.tolist() != conjugate.tolist()
assert isinstance(attempt(np.from_dlpack, conjugate), str) and isinstance(attempt(ways["numpy()"], negative), str)
assert attempt(np.from_dlpack, negative.resolve_neg()) == [-2, 1]
PY
