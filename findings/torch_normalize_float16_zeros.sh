#!/usr/bin/env bash
# torch 2.13.0 on a CPU: torch.nn.functional.normalize and cosine_similarity of a row of zeros, as an embedding is whose
# features were all pruned or masked, in float32, bfloat16 and float16.
#
# Guess: the eps in both is there for this case: the row stays zero and its similarity is 0, in every type.
# Seen: in float32 and bfloat16. In float16 the eps of 1e-12 (1e-8) is itself 0, and both give NaN, from valid numbers and
# without a warning. A model that was checked in float32 and is served in float16 loses exactly its empty rows. eps=1e-4.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from torch.nn.functional import cosine_similarity, normalize

found = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    zeros, ones = torch.zeros(1, 4, dtype=dtype), torch.ones(1, 4, dtype=dtype)
    found[dtype] = [
        str(normalize(zeros)[0, 0].item()),
        str(cosine_similarity(zeros, ones).item()),
        str(normalize(zeros, eps=1e-4)[0, 0].item()),
    ]
    print(dtype, "normalize, cosine_similarity, normalize with eps=1e-4:", *found[dtype])
assert found[torch.float32] == found[torch.bfloat16] == ["0.0", "0.0", "0.0"], found
assert found[torch.float16] == ["nan", "nan", "0.0"], found
PY
