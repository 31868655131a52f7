"""Attention in bfloat16: where it applies, that it ends with the call, and that compiled models have it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.errors import ConfigError


class Attending(nn.Module):
    """One layer of self-attention, with ``fail`` in the middle on demand."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.out, self.dropout, self.fail = nn.Linear(32, 32), dropout, False

    def forward(self, x: Tensor) -> Tensor:
        if self.fail:
            raise RuntimeError("on demand")
        q, k, v = (
            layer(x).unflatten(-1, (4, 8)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)
        return self.out(y.transpose(1, 2).flatten(-2))


def operators(model: nn.Module, x: Tensor) -> list[str]:
    graph = torch.export.export(model, (x,), strict=False).graph
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def data() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, 20, 32)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_products_of_attention_are_in_bfloat16(precision: str) -> None:
    x, model = data(), Attending().eval()
    wide = l0.quantize(model, [x], precision)
    narrow = l0.quantize(model, [x], precision, attention="bfloat16")
    assert "l0compile.bfloat16_attention.default" in operators(narrow, x)
    assert "l0compile.bfloat16_attention.default" not in operators(wide, x)
    with torch.no_grad():
        apart = (narrow(x) - wide(x)).abs().max() / wide(x).abs().max()
        assert 0 < apart < 0.02
        compiled = l0.compile(narrow, (x,), engine="tvm")
        assert (compiled(x) - narrow(x)).abs().max() < 0.02
    assert not compiled.explain().islands


def test_it_ends_with_the_call_whatever_happens() -> None:
    x, model = data(), Attending().eval()
    narrow = l0.quantize(model, [x], attention="bfloat16")
    q = torch.randn(1, 2, 5, 8)
    narrow.fail = True
    with pytest.raises(RuntimeError, match="on demand"):
        narrow(x)
    exact = torch.softmax(q @ q.mT * 8**-0.5, -1) @ q
    torch.testing.assert_close(F.scaled_dot_product_attention(q, q, q), exact, rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_queries_in_training() -> None:
    x, narrow = data(), l0.quantize(Attending().eval(), [data()], attention="bfloat16").train()
    narrow(x).square().sum().backward()
    query = narrow.query.weight
    assert query.grad is not None and float(query.grad.abs().sum()) > 0
    narrow.eval()
    assert "l0compile.bfloat16_attention.default" in operators(narrow, x)


def test_dropout_and_other_ranks_stay_as_they_are() -> None:
    x = data()
    narrow = l0.quantize(Attending(dropout=0.1).eval(), [x], attention="bfloat16")
    assert "l0compile.bfloat16_attention.default" not in operators(narrow, x)


def test_an_unknown_type() -> None:
    with pytest.raises(ConfigError, match="attention in float32 or bfloat16, got 'int8'"):
        l0.quantize(Attending().eval(), [data()], attention="int8")
