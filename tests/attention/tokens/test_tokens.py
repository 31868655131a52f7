"""Tokens and features that are dropped while a model runs."""

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.attention.tokens import ConditioningGate, KeepTopTokens, PoolTokens, attention_of_first
from l0compile.errors import ConfigError, InputError


def test_the_best_tokens_are_kept_in_their_order() -> None:
    x = torch.randn(2, 11, 3)
    scores = torch.rand(2, 11)
    kept = KeepTopTokens(0.5)(x, scores)
    for b in range(2):
        best = sorted(range(1, 11), key=lambda i: -float(scores[b, i]))[:5]
        assert torch.equal(kept[b], x[b, [0, *sorted(best)]])


def test_what_the_class_token_attends_to() -> None:
    q, k = torch.randn(2, 9, 8), torch.randn(2, 9, 8)
    _, weights = nn.functional.multi_head_attention_forward(
        q.transpose(0, 1), k.transpose(0, 1), k.transpose(0, 1), 8, 2,
        torch.eye(8).repeat(3, 1), None, None, None, False, 0.0, torch.eye(8), None,
    )  # fmt: skip
    assert weights is not None
    torch.testing.assert_close(attention_of_first(q, k, 2), weights[:, 0])


class Pruned(nn.Module):
    """A layer on all tokens, one on those that the class token attends to."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.after = (nn.Linear(16, 16) for _ in range(3))
        self.keep = KeepTopTokens(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.keep(x, attention_of_first(self.to_q(x), self.to_k(x), 2)))


def test_a_model_that_drops_tokens_compiles() -> None:
    torch.manual_seed(0)
    model, x = Pruned().eval(), torch.randn(1, 41, 16)
    compiled = l0.compile(model, (x,))
    with torch.no_grad():
        y = model(x)
        assert y.shape == (1, 11, 16)
        torch.testing.assert_close(compiled(x), y, atol=2e-5, rtol=1e-4)


def test_parts_are_pooled_by_their_scores() -> None:
    pool, x = PoolTokens(6, 3), torch.randn(2, 12, 6)
    y = pool(x)
    for b, part in ((b, p) for b in range(2) for p in range(3)):
        tokens = x[b, part * 4 : part * 4 + 4]
        weights = torch.stack([pool.score(token) for token in tokens]).softmax(0)
        torch.testing.assert_close(y[b, part], (weights * tokens).sum(0))
    with pytest.raises(InputError, match="a multiple of 3 tokens, got 4"):
        pool(torch.randn(1, 4, 6))


def test_a_condition_closes_features_exactly() -> None:
    torch.manual_seed(0)
    gate = ConditioningGate(5, 16, threshold=0.88)
    x, condition = torch.randn(2, 7, 16), torch.randn(2, 5)
    soft = gate.train().gates(condition)
    assert bool((soft > 0).all())
    y = gate.eval()(x, condition)
    closed = soft < 0.88
    assert 0 < int(closed.sum()) < closed.numel()
    assert bool((y.transpose(1, 2)[closed] == 0).all())
    torch.testing.assert_close(y.transpose(1, 2)[~closed], (x * soft[:, None]).transpose(1, 2)[~closed])


def test_a_gate_with_a_condition_learns_and_compiles() -> None:
    torch.manual_seed(0)
    gate = ConditioningGate(5, 16, threshold=0.88)
    x, condition = torch.randn(2, 7, 16), torch.randn(2, 5)
    gate(x, condition).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in gate.parameters())
    compiled = l0.compile(gate.eval(), (x, condition))
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, condition), gate(x, condition), atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        KeepTopTokens(0.0)
    with pytest.raises(InputError, match="more than 1 tokens, got 1"):
        KeepTopTokens()(torch.randn(1, 1, 3), torch.rand(1, 1))
