"""nn.MultiheadAttention in layers that can be narrow: the same results, and all four of them narrow."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.quantization.multihead import ProjectedAttention, project_attention


def attention(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(16, 4, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    return made.eval()


def both(source: nn.MultiheadAttention, args: Any, **options: Any) -> None:
    made = project_attention(copy.deepcopy(source))
    assert isinstance(made, ProjectedAttention)
    for found, wanted in zip(made(*args, **options), source(*args, **options), strict=True):
        if wanted is None:
            assert found is None
        else:
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


PADDING = torch.tensor([[False] * 5 + [True] * 2, [False] * 7])
CAUSAL = torch.ones(7, 7, dtype=torch.bool).triu(1)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_results_and_weights_are_those_of_pytorch(first: bool, weights: bool) -> None:
    x = torch.randn(2, 7, 16) if first else torch.randn(7, 2, 16)
    source = attention(batch_first=first)
    masks = (None, CAUSAL, torch.zeros(7, 7).masked_fill(CAUSAL, -1e4), torch.rand(8, 7, 7) < 0.2)
    for mask, padding in itertools.product(masks, (None, PADDING)):
        both(source, (x, x, x), attn_mask=mask, key_padding_mask=padding, need_weights=weights)
    both(source, (x, x, x), attn_mask=CAUSAL, is_causal=True, need_weights=weights)
    both(source, (x, x, x), average_attn_weights=False, need_weights=weights)


def test_other_forms() -> None:
    x, y = torch.randn(5, 16), torch.randn(3, 6, 10)
    both(attention(bias=False), (x, x, x))
    both(attention(kdim=10, vdim=10, batch_first=True), (torch.randn(3, 2, 16), y, y), need_weights=False)
    for options in ({"add_bias_kv": True}, {"add_zero_attn": True}):
        source = attention(**options)
        assert project_attention(source) is source
    hooked = attention()
    hooked.register_forward_hook(lambda *_: None)
    assert project_attention(hooked) is hooked


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_an_encoder_layer_is_narrow_throughout(precision: str) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    x = torch.randn(2, 12, 32)
    narrow = l0.quantize(model, [torch.randn(8, 12, 32)], precision, attention="bfloat16")
    assert [record.name.removeprefix("layers.0.") for record in narrow.quantization] == [
        "self_attn.query", "self_attn.key", "self_attn.value", "self_attn.out_proj", "linear1", "linear2",
    ]  # fmt: skip
    assert {record.precision for record in narrow.quantization} == {precision}
    torch.testing.assert_close(narrow(x), model(x), rtol=0.0, atol=0.15)
    compiled = l0.compile(narrow, (x,), engine="tvm")
    assert not compiled.explain().islands
    assert {region.precision for region in compiled.explain().regions if region.kind == "linear"} == {
        precision
    }
