"""nn.MultiheadAttention: what a mode is shown computes the same, and its heads take patterns."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.attention.assignment.assign import EveryKey, assign_patterns
from l0compile.attention.assignment.call import Call
from l0compile.attention.assignment.calls import answered, attention_sites
from tests.attention.window_pattern import Near

BATCH, TOKENS, KEYS, WIDTH, HEADS = 2, 7, 9, 16, 4
LATER = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
PADDED = torch.arange(TOKENS) >= torch.tensor([[TOKENS], [5]])
NUMBERS = torch.linspace(-1, 1, BATCH * HEADS * TOKENS * TOKENS).view(BATCH * HEADS, TOKENS, TOKENS)

CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bool mask": {"attn_mask": LATER},
    "causal": {"attn_mask": LATER, "is_causal": True},
    "mask by head": {"attn_mask": NUMBERS},
    "padding": {"key_padding_mask": PADDED},
    "padding and bool mask": {"key_padding_mask": PADDED, "attn_mask": LATER},
    "padding and numbers": {"key_padding_mask": PADDED, "attn_mask": NUMBERS},
    "padding and causal": {"key_padding_mask": PADDED, "attn_mask": LATER, "is_causal": True},
}


def plain(_: str, call: Call) -> Tensor:
    return call.dense()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("options", [{"batch_first": True}, {}, {"bias": False}], ids=str)
def test_the_same_result(name: str, options: dict[str, bool]) -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()
    x = torch.randn(BATCH, TOKENS, WIDTH) if "batch_first" in options else torch.randn(TOKENS, BATCH, WIDTH)
    wanted = model(x, x, x, need_weights=False, **CALLS[name])[0]
    with answered(model, plain):
        got = model(x, x, x, need_weights=False, **CALLS[name])[0]
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)


def test_keys_of_another_width() -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(WIDTH, HEADS, kdim=5, vdim=6, batch_first=True).eval()
    q, k, v = (torch.randn(BATCH, tokens, width) for tokens, width in ((TOKENS, WIDTH), (KEYS, 5), (KEYS, 6)))
    shown: list[Call] = []

    def answer(_: str, call: Call) -> Tensor:
        shown.append(call)
        return call.dense()

    wanted = model(q, k, v, need_weights=False)[0]
    with answered(model, answer):
        torch.testing.assert_close(model(q, k, v, need_weights=False)[0], wanted, atol=1e-6, rtol=1e-5)
    assert shown[0].key.shape == (BATCH, HEADS, KEYS, WIDTH // HEADS)


@pytest.mark.parametrize(
    ("options", "call"),
    [({}, {"need_weights": True}), ({"add_zero_attn": True}, {}), ({"add_bias_kv": True}, {})],
    ids=str,
)
def test_what_cannot_be_shown_stays(options: dict[str, bool], call: dict[str, bool]) -> None:
    model = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()
    x = torch.randn(TOKENS, BATCH, WIDTH)

    def answer(_: str, call: Call) -> Tensor:
        raise AssertionError("it was shown")

    call = {"need_weights": False, **call}
    with answered(model, answer):
        got = model(x, x, x, **call)
    for one, other in zip(got, model(x, x, x, **call), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def encoder() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


def test_heads_of_an_encoder_take_patterns() -> None:
    model, x = encoder(), torch.randn(1, 40, 32)
    sites = attention_sites(model, (x,))
    assert [(name, site.heads, site.queries) for name, site in sites.items()] == [
        (f"layers.{i}.self_attn", 4, 40) for i in range(2)
    ]
    patterns = {"layers.1.self_attn": [Near(3, 3), Near(0, 5), Near(3, 3, block=32), EveryKey()]}
    sparse = assign_patterns(copy.deepcopy(model), patterns)
    masks = torch.stack(
        [
            p.mask(40, 40) if isinstance(p, Near) else torch.ones(40, 40).bool()
            for p in patterns["layers.1.self_attn"]
        ]
    )

    def answer(name: str, call: Call) -> Tensor:
        return call._replace(attn_mask=masks.unsqueeze(0)).dense() if name in patterns else call.dense()

    with torch.no_grad():
        with answered(model, answer):
            wanted = model(x)
        assert (wanted - model(x)).abs().max() > 1e-2
        torch.testing.assert_close(sparse(x), wanted, atol=2e-6, rtol=0)
        compiled = l0.compile(sparse, (x,))
        torch.testing.assert_close(compiled(x), wanted, atol=2e-5, rtol=0)
