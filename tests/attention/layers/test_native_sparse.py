"""The three branches of native sparse attention against a slow walk through queries, heads and keys."""

import pytest
import torch
from torch import Tensor

import l0compile as l0
from l0compile.attention.layers import NativeSparseAttention
from l0compile.errors import ConfigError

SPAN, STRIDE, BLOCK, WINDOW, TOKENS = 8, 4, 8, 12, 75


def layer(q_block: int = 1, num_blocks: int = 4) -> NativeSparseAttention:
    torch.manual_seed(0)
    return NativeSparseAttention(
        32, 4, TOKENS, kv_heads=2, compress_block_size=SPAN, compress_stride=STRIDE, block_size=BLOCK,
        num_blocks=num_blocks, window=WINDOW, q_block=q_block,
    ).eval()  # fmt: skip


def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    weights = (k @ q * q.shape[0] ** -0.5).softmax(0)
    return weights @ v, weights


def slow(model: NativeSparseAttention, x: Tensor) -> Tensor:
    """One query at a time, as the paper's formulas say, for one sequence [S, width]."""
    q = model.to_q(x).unflatten(-1, (4, 8))
    k, v = (to(x).unflatten(-1, (3, 2, 8)) for to in (model.to_keys, model.to_values))
    spans = [range(s, s + SPAN) for s in range(0, TOKENS - SPAN + 1, STRIDE)]

    def compress(by: torch.nn.Module, t: Tensor) -> Tensor:
        return torch.stack([by(t[list(span)].T[None, None].transpose(-1, -2))[0, 0, 0] for span in spans])

    ck = [compress(model.compress_keys, k[:, 0, g]) for g in range(2)]
    cv = [compress(model.compress_values, v[:, 0, g]) for g in range(2)]
    gates = model.gates(x).sigmoid().unflatten(-1, (3, 4))
    rows = []
    for i in range(TOKENS):
        whole = [c for c, span in enumerate(spans) if span[-1] <= i]
        importance, found = [dict[int, float](), dict[int, float]()], torch.zeros(3, 4, 8)
        for h in range(4):
            if whole:
                found[0, h], weights = attend(q[i, h], ck[h // 2][whole], cv[h // 2][whole])
                for c, weight in zip(whole, weights.tolist(), strict=True):
                    for token in spans[c]:
                        block = token // BLOCK
                        share = importance[h // 2].get(block, 0.0)
                        importance[h // 2][block] = share + weight / STRIDE
            near = list(range(max(0, i - WINDOW + 1), i + 1))
            found[2, h] = attend(q[i, h], k[near, 2, h // 2], v[near, 2, h // 2])[0]
        for h in range(4):
            own = i // BLOCK
            forced = [b for b in dict.fromkeys((own, own - 1, 0)) if b >= 0]
            rest = sorted(set(range(own + 1)) - set(forced), key=lambda b: -importance[h // 2].get(b, 0.0))
            blocks = [*forced, *rest][:4]
            keys = [j for j in range(i + 1) if j // BLOCK in blocks]
            found[1, h] = attend(q[i, h], k[keys, 1, h // 2], v[keys, 1, h // 2])[0]
        rows.append((found * gates[i].unsqueeze(-1)).sum(0).flatten())
    return model.out(torch.stack(rows))


def test_it_is_the_sum_of_three_gated_branches() -> None:
    model, x = layer(), torch.randn(2, TOKENS, 32)
    with torch.no_grad():
        expected = torch.stack([slow(model, sequence) for sequence in x])
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("q_block", [1, 4, 16])
def test_nothing_after_a_query_changes_it(q_block: int) -> None:
    model, x = layer(q_block), torch.randn(1, TOKENS, 32)
    other = x.clone()
    other[:, 53:] = torch.randn(1, TOKENS - 53, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(other)[:, :53], model(x)[:, :53])


def test_every_weight_learns() -> None:
    model = layer(16).train()
    model(torch.randn(1, TOKENS, 32)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


def test_with_room_for_all_blocks_the_selected_branch_is_dense() -> None:
    model = layer(num_blocks=99)
    program = model.selected(torch.rand(1, 4, TOKENS, len(model.shares)))
    assert torch.equal(program.to_mask(TOKENS, TOKENS)[0, 0], torch.ones(TOKENS, TOKENS).tril().bool())


def test_it_compiles() -> None:
    model, x = layer(16), torch.randn(1, TOKENS, 32)
    compiled = l0.compile(model, (x,))
    other = torch.randn(1, TOKENS, 32)
    with torch.no_grad():
        torch.testing.assert_close(compiled(other), model(other), atol=2e-5, rtol=1e-4)


def test_a_sequence_shorter_than_a_span_is_refused() -> None:
    with pytest.raises(ConfigError, match="a span of 32 in 20 tokens"):
        NativeSparseAttention(32, 4, 20)
