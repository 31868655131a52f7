"""A layer with a pattern or a selector is dense attention under its mask, trains, and compiles to the same."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import l0compile as l0
from l0compile.attention.layers import SparseAttention
from l0compile.attention.patterns import BigBird, Pattern, PerHead, SlidingWindow, StreamingLLM
from l0compile.attention.selectors import PooledScores, RowTopK, Selector, VerticalSlash
from l0compile.errors import ConfigError, InputError

KEYS: list[Pattern | Selector] = [
    SlidingWindow(40),
    BigBird(16, 1),
    PerHead((StreamingLLM(4, 30), SlidingWindow(20, causal=False))),
    PooledScores(16, 4),
    VerticalSlash(40, 110, 16, 16),
    RowTopK(20, q_block=16, k_block=16),
]
each = pytest.mark.parametrize("keys", KEYS, ids=lambda keys: type(keys).__name__)


def layer(keys: Pattern | Selector, tokens: int = 150) -> SparseAttention:
    torch.manual_seed(0)
    return SparseAttention(32, 2, keys, tokens, kv_heads=1, q_block=16, k_block=16).eval()


def heads(t: Tensor, number: int) -> Tensor:
    return t.unflatten(-1, (number, -1)).transpose(1, 2)


def dense(model: SparseAttention, x: Tensor, keys: Pattern | Selector) -> Tensor:
    q, k, v = model.to_q(x), model.to_k(x), model.to_v(x)
    if isinstance(keys, Pattern):
        mask = keys.mask(x.shape[1], heads=2)
    else:
        mask = keys(q, k, 2).to_mask(x.shape[1], x.shape[1])
    y = scaled_dot_product_attention(heads(q, 2), heads(k, 1), heads(v, 1), mask, enable_gqa=True)
    return model.out(y.transpose(1, 2).flatten(-2))


@each
def test_it_is_dense_attention_under_the_mask_and_so_are_its_gradients(keys: Pattern | Selector) -> None:
    model, x = layer(keys), torch.randn(2, 150, 32)
    y, expected = model(x), dense(model, x, keys)
    torch.testing.assert_close(y, expected)
    direction = torch.randn_like(y)
    # A selector's own weights, of which none is here, would get no gradient.
    weights = list(model.parameters())
    found, wanted = (torch.autograd.grad((r * direction).sum(), weights) for r in (y, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@each
def test_it_compiles(keys: Pattern | Selector) -> None:
    model, x = layer(keys), torch.randn(1, 150, 32)
    compiled = l0.compile(model, (x,))
    other = torch.randn(1, 150, 32)
    with torch.no_grad():
        torch.testing.assert_close(compiled(other), model(other), atol=2e-5, rtol=1e-4)


def test_it_learns_to_copy_a_token_that_its_window_holds() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(16, 32), SparseAttention(32, 2, SlidingWindow(9), 64, q_block=16, k_block=16), nn.Linear(32, 16)
    )  # fmt: skip
    place = nn.Parameter(torch.randn(64, 32) * 0.5)
    optimizer = torch.optim.Adam([*model.parameters(), place], lr=3e-3)
    tokens = torch.randint(0, 16, (64, 64))
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        logits = model[2](model[1](model[0](tokens) + place))[:, 4:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, :-4].flatten())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="divide the width 30"):
        SparseAttention(30, 4, SlidingWindow(3), 8)
    with pytest.raises(ConfigError, match="number of tokens for SlidingWindow"):
        SparseAttention(32, 4, SlidingWindow(3))
    with pytest.raises(InputError, match="expected 150 tokens, got 149"):
        layer(SlidingWindow(40))(torch.randn(1, 149, 32))
