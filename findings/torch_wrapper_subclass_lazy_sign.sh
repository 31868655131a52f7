#!/usr/bin/env bash
# torch 2.13.0, a wrapper subclass (_make_wrapper_subclass) whose __torch_dispatch__ calls func on the tensor inside it,
# as the documentation's examples do, around a tensor with the negative or the conjugate bit.
#
# Guess: the operator sees the inner tensor's values, as it does everywhere else: x.conj().imag is a tensor like any other.
# Seen: inside __torch_dispatch__ the handlers of the two bits are switched off, and every operator reads the memory as it
# is: mul, sum and tanh lose signs and conjugations without an error (linear is right, because it checks the bits itself).
# The same call on the same tensor outside is right. Call resolve_neg() before wrapping.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
"$folder/venv/bin/python" - <<'PY'
import torch


class Wrapper(torch.Tensor):
    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        plain = [each.inner if isinstance(each, Wrapper) else each for each in args]
        return func(*plain, **(kwargs or {}))


torch.manual_seed(0)
imaginary = torch.randn(3, 4, dtype=torch.complex64).conj().imag
conjugate = torch.randn(4, dtype=torch.complex64).conj()
assert imaginary.is_neg() and conjugate.is_conj()
cases = {
    "mul": (lambda x: x * 2, imaginary, torch.neg),
    "sum": (lambda x: x.sum(), imaginary, torch.neg),
    "tanh": (torch.tanh, imaginary, torch.neg),
    "mul, conjugate": (lambda x: x * 2, conjugate, torch.conj),
}
for name, (call, x, wrong) in cases.items():
    expected, got = call(x).resolve_neg(), call(Wrapper(x))
    print(f"torch {torch.__version__}, {name}: right {expected.flatten()[0]:.4f}, through the wrapper {got.flatten()[0]:.4f}")
    assert torch.allclose(got, wrong(expected).resolve_conj(), atol=1e-5) and not torch.allclose(got, expected)
    assert torch.allclose(call(Wrapper(x.resolve_neg().resolve_conj())), expected, atol=1e-5)
linear = [torch.nn.functional.linear(each, torch.eye(4)) for each in (imaginary, Wrapper(imaginary))]
assert torch.allclose(*linear)
print("linear: right through the wrapper too")
PY
