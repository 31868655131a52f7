#!/usr/bin/env bash
# optax 0.2.8 with jax 0.10.2: softmax_cross_entropy_with_integer_labels for labels of padding, -100 as in PyTorch and transformers and
# -1 as in many data sets, carried over as they are.
#
# Guess: such a label is ignored (a loss of 0), or gives NaN, as a label that is too large does, so that it is found at once.
# Seen: it counts from the end: -1 is the last class, and with more than 100 classes -100 is the hundredth from the end. The loss is
# that of a real class, finite, with a gradient that trains the model to say a certain token for padding. With fewer than 100
# classes it is NaN, so a small test finds what a vocabulary hides. Mask the loss: where=, or times (labels >= 0).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp
import optax

loss = optax.softmax_cross_entropy_with_integer_labels
for classes in (10, 1000):
    logits = jax.random.normal(jax.random.key(0), (classes,))
    padding = {label: float(loss(logits, jnp.array(label))) for label in (-1, -100, classes)}
    print(classes, "classes:", padding, "- of the last class:", float(loss(logits, jnp.array(classes - 1))))
    assert padding[-1] == float(loss(logits, jnp.array(classes - 1)))
    assert padding[classes] != padding[classes]  # NaN
    assert (padding[-100] != padding[-100]) == (classes < 100)
pulled = int(jax.grad(lambda logits: loss(logits, jnp.array(-100)))(logits).argmin())
print("the class that padding of -100 is trained to, of 1000:", pulled)
assert pulled == 900 and padding[-100] == float(loss(logits, jnp.array(900)))
PY
