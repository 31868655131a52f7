#!/usr/bin/env bash
# jax 0.10.2 on a CPU: an L1 penalty on a weight that holds zeros, as pruning leaves them; torch does the same beside it in words.
#
# Guess: the gradient of |w| is sign(w), which is 0 at 0, as PyTorch has it: a weight that is zero stays zero under L1 alone.
# Seen: jnp.abs has the gradient 1 at 0 and at -0.0 (jnp.sign(0) is 0), so plain gradient descent pushes every pruned weight to
# -lr in the first step and back in the next: after an odd number of steps no zero is left. jnp.linalg.norm(w, 1) and
# leaky_relu do as abs; jnp.maximum(x, 0) has 0.5 at 0 where jax.nn.relu has 0. jnp.sign(w) in a custom gradient keeps zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp

penalties = {
    "abs": jnp.abs, "sign * x": lambda x: jax.lax.stop_gradient(jnp.sign(x)) * x, "norm of order 1": lambda x: jnp.linalg.norm(x.reshape(1), 1),
    "leaky_relu": jax.nn.leaky_relu, "maximum with 0": lambda x: jnp.maximum(x, 0), "relu": jax.nn.relu,
}
slopes = {name: (float(jax.grad(function)(0.0)), float(jax.grad(function)(-0.0))) for name, function in penalties.items()}
print("gradients at 0 and -0.0:", slopes)
assert slopes == {
    "abs": (1, 1), "sign * x": (0, 0), "norm of order 1": (1, 1), "leaky_relu": (1, 1), "maximum with 0": (0.5, 0.5), "relu": (0, 0),
}, slopes
weight, zeros = jnp.array([0, -0.0, 0.5, 0, -0.5]), []
for _ in range(4):
    weight = weight - 0.125 * jax.grad(lambda w: jnp.abs(w).sum())(weight)
    zeros.append(int((weight == 0).sum()))
print("zeros after each step of L1 alone, of 3:", zeros, "the weight now:", weight)
assert zeros == [0, 3, 0, 5], zeros
PY
