#!/usr/bin/env bash
# flax 0.12.8 with jax 0.10.2 on a CPU: LayerNorm and BatchNorm, as they are, of float32 features whose mean is not near 0, as of
# columns of a table (years, prices) or of a residual stream with a large channel.
#
# Guess: the result is as exact as PyTorch's: the mean is taken off first, so features with a mean of 10,000 lose three digits.
# Seen: the variance is mean(x^2) - mean(x)^2 by default. With a mean of 1,000 and a deviation of 1 results are off by 0.3; with
# 10,000 the variance is cut off at 0 in some rows, and numbers that should lie within 3 of zero come out as 3,000, finite and
# without a warning. BatchNorm does the same, also in nnx. use_fast_variance=False gives the guess.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check flax==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import jax.numpy as jnp
import numpy as np
from flax import nnx

normal = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
for mean in (0, 1000, 10_000):
    x = normal + np.float32(mean)
    for name, axis, make in (("LayerNorm", 1, nnx.LayerNorm), ("BatchNorm", 0, nnx.BatchNorm)):
        wide = x.astype(np.float64)
        exact = (wide - wide.mean(axis, keepdims=True)) / np.sqrt(wide.var(axis, keepdims=True) + 1e-6)
        fast, careful = (
            np.abs(make(64, epsilon=1e-6, rngs=nnx.Rngs(0), **options)(jnp.asarray(x)) - exact).max()
            for options in ({}, {"use_fast_variance": False})
        )
        print(name, "mean", mean, "- error as it is:", fast, "- with use_fast_variance=False:", careful)
        assert careful < 0.01
        assert fast < 1e-5 if mean == 0 else fast > (100 if mean > 1000 else 0.05)
PY
