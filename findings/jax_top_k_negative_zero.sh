#!/usr/bin/env bash
# jax 0.10.2 on a CPU: the largest of equal scores, some of which are -0.0, as products with a mask and negative numbers are.
#
# Guess: -0.0 equals 0.0, so top_k names the first of the two, as it promises for equal values, and as argmax, sort and argsort do.
# Seen: top_k orders by the bits: 0.0 comes before -0.0 wherever it stands. top_k(scores, 1) and argmax name different places
# of the same scores, and pruned experts or keys are chosen by the sign that their zero happens to have. sort leaves zeros of
# both signs in the order in which they were. scores + 0.0 takes the sign away, but under jit the addition is dropped, so the
# choice changes with jit; where(scores == 0, 0, scores) works in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp

scores = jnp.array([-3, 2, -1.0, 4]) * jnp.array([0, 0, 0, 0.0])
print("scores:", scores)
ways = {
    "argmax": lambda x: jnp.argmax(x)[None], "argsort": lambda x: jnp.argsort(x, descending=True),
    "top_k": lambda x: jax.lax.top_k(x, 4)[1], "of scores + 0": lambda x: jax.lax.top_k(x + 0.0, 4)[1],
    "of where": lambda x: jax.lax.top_k(jnp.where(x == 0, 0, x), 4)[1],
}
for compiled in (False, True):
    places = {name: (jax.jit(way) if compiled else way)(scores).tolist() for name, way in ways.items()}
    print("jit:" if compiled else "eager:", places)
    first, by_sign = [0, 1, 2, 3], [1, 3, 0, 2]
    assert list(places.values()) == [[0], first, by_sign, by_sign if compiled else first, first], places
kept = jnp.sort(scores)
print("sorted:", kept)
assert jnp.signbit(kept).tolist() == jnp.signbit(scores).tolist()
PY
