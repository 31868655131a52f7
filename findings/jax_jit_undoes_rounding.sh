#!/usr/bin/env bash
# jax 0.10.2 on a CPU: arithmetic whose purpose is its rounding, called as it is and under jit.
#
# Guess: without fast-math flags a compiler keeps floating-point operations as they are written, so jit changes speed alone;
# (x + c) - c is the old way to round to integers, and scaling up and down in two steps avoids overflow.
# Seen: jit simplifies by algebra. (x + 1.5 * 2^23) - 1.5 * 2^23 is x: nothing is rounded, and a fake quantiser written that way
# does nothing. x * 3 / 3 is x even where x * 3 is infinite, log(exp(x)) is x where exp overflows. Two small factors and two
# large ones become 0 and infinity, and everything is NaN. With the constant as an argument of the function all are kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

magic, small, large = np.float32(1.5 * 2**23), np.float32(1e-30), np.float32(1e30)
x = jnp.array([0.3, 1.5, -0.7, 200, 3e38], jnp.float32)
functions = {
    "(x + c) - c": (lambda x: (x + magic) - magic, x[:3], [0, 2, -1], x[:3]),
    "x * 3 / 3": (lambda x: x * 3 / 3, x[4:], [np.inf], x[4:]),
    "log(exp(x))": (lambda x: jnp.log(jnp.exp(x)), x[3:4], [np.inf], x[3:4]),
    "x * small * small * large * large": (lambda x: x * small * small * large * large, x[1:2], [0], [np.nan]),
}
for name, (function, given, eager, compiled) in functions.items():
    seen, under_jit = function(given), jax.jit(function)(given)
    print(name, "of", given, "eager:", seen, "jit:", under_jit)
    assert np.array_equal(seen, eager) and np.array_equal(under_jit, compiled, equal_nan=True)
kept = jax.jit(lambda x, c: (x + c) - c)(x[:3], magic)
print("(x + c) - c with c as an argument, jit:", kept)
assert kept.tolist() == [0, 2, -1]
PY
