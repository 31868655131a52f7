#!/usr/bin/env bash
# torch 2.13.0 on a CPU: a sparse matrix (COO) of bfloat16 or float16 times a dense one, beside the same product of dense matrices.
#
# Guess: the layout is how the weight is stored: products are added in float32 and rounded once, as the dense one's are. Four thousand
# ones are 4,096, which both types can say.
# Seen: each addend is rounded: the sum stops at 256 in bfloat16 and at 2,048 in float16, in @, addmm, torch.sparse.mm and
# torch.sparse.sum. A pruned layer loses accuracy as it gets wider, for its layout alone. CSR is refused ("not implemented for"),
# so whoever has 16 bits and zeros ends at COO. Widen to float32 first, or keep the weight dense.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch

WIDTH = 4096
for dtype, stops in ((torch.bfloat16, 256), (torch.float16, 2048)):
    weight, x = torch.ones(2, WIDTH, dtype=dtype), torch.ones(WIDTH, 3, dtype=dtype)
    pruned = weight.to_sparse()
    answers = {
        "dense": weight @ x,
        "@": pruned @ x,
        "mv": pruned @ x[:, 0],
        "sparse.mm": torch.sparse.mm(pruned, x),
        "addmm": torch.addmm(torch.zeros(2, 3, dtype=dtype), pruned, x),
        "sparse.sum": torch.sparse.sum(pruned, 1).to_dense(),
    }
    print(dtype, {name: answer.flatten()[0].item() for name, answer in answers.items()})
    assert (answers.pop("dense") == WIDTH).all()
    assert all((answer == stops).all() for answer in answers.values())
    random = torch.randn(64, WIDTH, dtype=dtype), torch.randn(WIDTH, 8, dtype=dtype)
    exact = random[0].double() @ random[1].double()
    errors = [((product.double() - exact).norm() / exact.norm()).item() for product in (random[0] @ random[1], random[0].to_sparse() @ random[1])]
    print("  error of random numbers, dense and COO:", errors)
    assert errors[1] > 5 * errors[0]
PY
