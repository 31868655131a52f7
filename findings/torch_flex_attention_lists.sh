#!/usr/bin/env bash
# torch 2.13.0, flex_attention with a mask of BlockMask.from_kv_blocks that lists one of two key blocks, no mask_mod given;
# on a CPU, eager and through torch.compile (which needs a C++ compiler).
#
# Guess: both attend to the listed blocks; the mask says sparsity=50 %.
# Seen: eager mode reads mask_mod alone, which is "all positions" here, and attends to all keys; torch.compile attends to the
# listed blocks. No error, no warning, and answers that have nothing to do with each other. With a mask_mod that is true in
# the listed blocks only, both agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

torch.manual_seed(0)
q, k, v = (torch.randn(1, 2, 32, 16) for _ in range(3))
counts = torch.ones(1, 1, 2, dtype=torch.int32)
entries = torch.tensor([[0, 0], [1, 0]], dtype=torch.int32).reshape(1, 1, 2, 2)  # row 0: block 0; row 1: block 1
compiled = torch.compile(flex_attention)


def own_block(b, h, i, j):
    return i // 16 == j // 16


differences = {}
for name, mod in (("without mask_mod", None), ("with mask_mod", own_block)):
    mask = BlockMask.from_kv_blocks(counts, entries, BLOCK_SIZE=16, mask_mod=mod, seq_lengths=(32, 32))
    eager = flex_attention(q, k, v, block_mask=mask)
    differences[name] = (eager - compiled(q, k, v, block_mask=mask)).abs().max().item()
    print(f"{name}: sparsity {mask.sparsity()} %, eager and compiled differ by {differences[name]:.1e}")
assert differences["without mask_mod"] > 0.1, differences
assert differences["with mask_mod"] < 1e-5, differences
PY
