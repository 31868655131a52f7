#!/usr/bin/env bash
# jax 0.10.2 on a CPU: numbers drawn in bfloat16, as layers draw them for dropout, gates and samples whose parameters have that type.
#
# Guess: the type rounds what is drawn; probabilities stay what they are to three digits: p = 0.001 gives one in a thousand.
# Seen: it is drawn from 128 numbers. bernoulli with p = 0.001 is true 8 times too often, and with 0.999 (0.9961 and 1 are the
# neighbours) always; categorical draws a class of 1 in 1,000 twenty times too rarely, and of 1 in 100 by a third; one uniform number
# in 128 is exactly 0, and so is one exponential; no normal number is above 2.9. Of a million-wide softmax the tail is gone. In
# float32 all are right. Draw in float32 and cast.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp

key, count, seen = jax.random.key(0), 200_000, {}
for dtype in (jnp.float32, jnp.bfloat16):
    logits = jnp.log(jnp.array([0.9, 0.05, 0.03, 0.01, 0.009, 0.001])).astype(dtype)
    classes = jax.random.categorical(key, logits, shape=(count,))
    seen[dtype] = [
        jax.random.bernoulli(key, jnp.full(count, 0.001, dtype)).mean(),
        jax.random.bernoulli(key, jnp.full(count, 0.998, dtype)).mean(),
        (classes == 5).mean(),
        (classes == 3).mean(),
        (jax.random.uniform(key, (count,), dtype) == 0).mean(),
        (jax.random.exponential(key, (count,), dtype) == 0).mean(),
        jnp.abs(jax.random.normal(key, (count,), dtype)).max(),
    ]
    seen[dtype] = [float(value) for value in seen[dtype]]
    print(dtype.__name__, "bernoulli 0.001: %.4f, 0.998: %.4f, class of 0.001: %.5f, of 0.01: %.5f, zeros: %.4f, %.4f, largest: %.2f" % tuple(seen[dtype]))
right, wrong = seen[jnp.float32], seen[jnp.bfloat16]
assert abs(right[0] - 0.001) < 3e-4 and abs(right[1] - 0.998) < 5e-4 and abs(right[2] - 0.001) < 3e-4 and abs(right[3] - 0.01) < 1e-3
assert right[4] < 1e-4 and right[5] < 1e-4 and right[6] > 4
assert wrong[0] > 0.006 and wrong[1] == 1 and wrong[2] < 3e-4 and wrong[3] < 0.008
assert wrong[4] > 0.006 and wrong[5] > 0.006 and wrong[6] < 3
PY
