"""Mixture of sparse attention against heads that gather, attend and add one after another."""

import pytest
import torch

import l0compile as l0
from l0compile.attention.layers import MixtureOfSparseAttention
from l0compile.errors import ConfigError


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("tokens", "sparsity"), [(40, 4), (3, 16), (37, 5), (1, 2)])
def test_each_head_attends_within_its_tokens(tokens: int, sparsity: int, causal: bool) -> None:
    torch.manual_seed(0)
    model = MixtureOfSparseAttention(24, 3, sparsity, 8, causal).eval()
    x = torch.randn(2, tokens, 24)
    expected = torch.zeros_like(x)
    for b, h in ((b, h) for b in range(2) for h in range(3)):
        scores = torch.sigmoid(x[b] @ model.router.weight[h]).detach()
        mine = sorted(sorted(range(tokens), key=lambda i: -float(scores[i]))[: max(2, tokens // sparsity)])
        q, k, v = (x[b] @ model.to_qkv[h]).split(8, -1)
        for i in mine:
            seen = [j for j in mine if not causal or j <= i]
            weights = (k[seen] @ q[i] * 8**-0.5).softmax(0)
            expected[b, i] += scores[i] * (weights @ v[seen] @ model.out[h])
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-4)


def test_the_router_learns() -> None:
    model = MixtureOfSparseAttention(24, 3, 4)
    model(torch.randn(2, 40, 24)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


def test_it_compiles() -> None:
    torch.manual_seed(0)
    model, x = MixtureOfSparseAttention(32, 4, 4).eval(), torch.randn(1, 64, 32)
    compiled = l0.compile(model, (x,))
    other = torch.randn(1, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(compiled(other), model(other), atol=2e-5, rtol=1e-4)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="width 1 or more"):
        MixtureOfSparseAttention(4, 8)
