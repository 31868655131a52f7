#!/usr/bin/env bash
# jax 0.10.2 on a CPU: jax.nn.dot_product_attention for a query that may attend to no key, said in the ways that it offers.
#
# Guess: the three ways mean one thing, and such a query gives 0, as in PyTorch's scaled_dot_product_attention and in JAX's own
# softmax(where=...); at worst NaN everywhere.
# Seen: a boolean mask gives the mean of all values, of those that are masked too; so does key_value_seq_lengths of 0, a mean of
# padding. A bias of -inf gives NaN. A query beyond query_seq_lengths gives 0. A row of padding so changes with what happens to
# stand in its values, and a model that is carried over from PyTorch, or the other way, differs there alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

q, v = jnp.ones((1, 2, 1, 1)), jnp.array([2.0, 6.0]).reshape(1, 2, 1, 1)
some = jnp.array([[[[True, False], [False, False]]]])
ways = {
    "mask": {"mask": some}, "bias": {"bias": jnp.where(some, 0, -jnp.inf)},
    "no keys": {"key_value_seq_lengths": jnp.array([0])}, "no queries after the first": {"query_seq_lengths": jnp.array([1])},
}
seen = {name: jax.nn.dot_product_attention(q, q, v, **how)[0, 1, 0, 0].item() for name, how in ways.items()}
print("the second of two queries, values 2 and 6:", seen)
np.testing.assert_array_equal(list(seen.values()), [4, np.nan, 4, 0])
weights = jax.nn.softmax(jnp.zeros(2), where=jnp.zeros(2, bool))
print("softmax of nothing:", weights)
assert weights.tolist() == [0, 0]
PY
