#!/usr/bin/env bash
# torch 2.13.0 on a CPU: torch.rand in bfloat16 and float16, and the noise log(u) - log(1 - u) of random gates (hard concrete, Gumbel,
# relaxed Bernoulli) made from it, as under parameters of that type.
#
# Guess: rand is a float32 draw that is rounded, so an exact 0 is as rare as there (1 in 2^24) and 1 is likelier; the mean is 0.5.
# Seen: 1 number in 512 is exactly 0 in bfloat16, 1 in 4,096 in float16, and none is 1, so the mean is 0.498. One gate in 512 has a
# noise of -infinity: it is shut whatever it has learned, at 1e-30 and at 0.999 alike, and has no gradient then. bernoulli
# and dropout are right. Draw in float32 and cast what comes of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch

COUNT = 1_000_000
torch.manual_seed(0)
for dtype, zeros in ((torch.float32, 0), (torch.float16, 1 / 4096), (torch.bfloat16, 1 / 512)):
    u = torch.rand(COUNT, dtype=dtype)
    learned = torch.full((COUNT,), 10.0, dtype=dtype, requires_grad=True)  # open with a probability of 0.99995
    gates = torch.sigmoid((u.log() - (1 - u).log() + learned) / 0.66)
    gates.sum().backward()
    shut, kept = (gates == 0).double().mean().item(), torch.bernoulli(torch.full((COUNT,), 0.999, dtype=dtype)).double().mean().item()
    print(dtype, "zeros:", (u == 0).double().mean().item(), "gates shut:", shut, "mean:", u.double().mean().item(), "bernoulli 0.999:", kept)
    assert abs((u == 0).double().mean().item() - zeros) < 2e-4 and abs(shut - zeros) < 2e-4 and not (u == 1).any()
    assert (learned.grad[gates == 0] == 0).all() and abs(kept - float(torch.tensor(0.999, dtype=dtype))) < 3e-4
PY
