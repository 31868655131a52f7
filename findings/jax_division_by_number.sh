#!/usr/bin/env bash
# jax 0.10.2 on a CPU: an array divided by one number, with jit and without, beside the same division in NumPy.
#
# Guess: IEEE division, rounded once: 21 / 7 is 3, and what is a multiple of a scale comes back as an integer.
# Seen: the array is multiplied by the rounded reciprocal. Of the multiples of 7 up to 1393 more than half do not give an
# integer, in float16 49 / 49 is 0.9995, and x / scale just above or below a half rounds to the other integer than NumPy's,
# so quantised weights differ by a step. Divided by an array of its own shape the same numbers are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

whole = np.arange(1, 200, dtype=np.float32)
sevens = jnp.asarray(whole * 7)
assert ((whole * 7) / np.float32(7) == whole).all()
ways = {
    "eager": lambda x: x / 7, "jit": jax.jit(lambda x: x / 7), "jit, the number is an argument": lambda x: jax.jit(lambda a, b: a / b)(x, 7.0),
    "by an array": lambda x: x / jnp.full_like(x, 7),
}
wrong = {name: int((np.asarray(way(sevens)) != whole).sum()) for name, way in ways.items()}
print("of 199 multiples of 7 divided by 7 are not whole:", wrong)
assert list(wrong.values()) == [110, 110, 110, 0], wrong
half = jnp.asarray([49, 98], jnp.float16) / jnp.float16(49)
print("float16, [49, 98] / 49:", half)
assert half[0] < 1 and half[1] < 2

differ = 0
for scale in np.arange(1, 200, dtype=np.float32) / 1000:
    weights = (np.arange(-127, 128, dtype=np.float32) + np.float32(0.5)) * scale
    differ += int((np.asarray(jnp.round(jnp.asarray(weights) / scale)) != np.round(weights / scale)).sum())
print("steps that differ from NumPy's, of", 199 * 255, "weights near a half:", differ)
assert differ > 1000
PY
