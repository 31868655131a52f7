"""Products in bfloat16: linear layers only, float32 around them, and none where the CPU would emulate it."""

import dataclasses

import pytest
import torch
from torch import nn

from l0compile.hardware.targets import read_host
from l0compile.tasks import Schedule, products
from l0compile.tasks.products import products_in, usable


def on_a_cpu(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    host = dataclasses.replace(read_host(), flags=frozenset(flags))
    monkeypatch.setattr(products, "read_host", lambda: host)


def test_linear_layers_multiply_in_bfloat16_and_give_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch, "avx512_bf16")
    layer, x = nn.Linear(64, 32), torch.randn(8, 64, requires_grad=True)
    exact = layer(x)
    with products_in("bfloat16"):
        rounded = layer(x)
    rounded.square().sum().backward()
    assert rounded.dtype == torch.float32 and torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.03, atol=0.03)
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, 2 * exact.detach() @ layer.weight.detach(), rtol=0.05, atol=0.05)


def test_all_else_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch, "amx_bf16")
    q, double = torch.randn(1, 2, 5, 16), torch.randn(3, 4, dtype=torch.float64)
    attention = nn.functional.scaled_dot_product_attention
    with products_in("bfloat16"):
        attended, product = attention(q, q, q), nn.functional.linear(double, double)
    assert torch.equal(attended, attention(q, q, q))
    assert torch.equal(product, double @ double.T)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nothing_changes_where_the_cpu_would_emulate_it(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    on_a_cpu(monkeypatch, "avx2", "avx512f")
    layer, x = nn.Linear(64, 32), torch.randn(8, 64)
    with products_in(precision):
        assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    assert usable(precision) == "float32"


def test_float32_is_what_a_schedule_has_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch, "avx512_bf16")
    assert usable(Schedule(1).products) == "float32"
