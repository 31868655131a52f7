"""The narrow layers: what they compute, how they train, and what they save."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from l0compile.errors import InputError
from l0compile.quantization.layers import Bfloat16Linear, QuantizedLinear


def make(
    n: int = 6, k: int = 8, zero_point: int = 120, zeros: bool = False, seed: int = 0
) -> QuantizedLinear:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, k, generator=generator)
    if zeros:
        weight[torch.rand(n, k, generator=generator) < 0.5] = 0.0
    inverse = 30 * torch.rand(k, generator=generator) + 10
    scale = (weight / inverse).abs().amax(1).clamp(min=1e-3) / 127
    bias = torch.randn(n, generator=generator)
    return QuantizedLinear(nn.Parameter(weight), nn.Parameter(bias), inverse, scale, zero_point).eval()


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 9),
    k=st.integers(1, 17),
    zero_point=st.integers(0, 127).map(lambda half: 2 * half),
    zeros=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_both_modes_compute_the_same(n: int, k: int, zero_point: int, zeros: bool, seed: int) -> None:
    layer = make(n, k, zero_point, zeros, seed)
    x = 3 * torch.randn(5, k, generator=torch.Generator().manual_seed(seed))
    wanted = layer(x)
    rounded = layer.rounded.clone()
    assert torch.allclose(layer.train()(x), wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(layer.eval().rounded, rounded)
    assert bool((layer.rounded[layer.weight == 0] == 0).all())


def test_zero_inputs_give_the_bias_exactly() -> None:
    layer = make()
    assert torch.equal(layer(torch.zeros(3, 8)), layer.bias.expand(3, -1))


def test_training_moves_weights_but_not_zeros_and_evaluation_rounds_again() -> None:
    layer = make(zeros=True)
    closed, before = layer.weight.detach() == 0, layer.rounded.clone()
    x, wanted = torch.randn(64, 8), torch.randn(64, 6)
    layer.train()
    optimiser = torch.optim.AdamW(layer.parameters(), 0.05)
    losses = []
    for _ in range(40):
        loss = (layer(x) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    trained = layer(x).detach()
    assert losses[-1] < 0.7 * losses[0]
    assert closed.any() and bool((layer.weight[closed] == 0).all())
    layer.eval()
    assert not torch.equal(layer.rounded, before) and bool((layer.rounded[closed] == 0).all())
    assert torch.allclose(layer(x), trained, atol=1e-4, rtol=1e-4)


def test_a_weight_that_grows_is_not_cut_off() -> None:
    layer = make().train()
    with torch.no_grad():
        layer.weight.mul_(4.0)
    layer.eval()
    stands_for = layer.rounded * layer.scale[:, None] * layer.inverse
    error = (stands_for - layer.weight.detach()).abs() / (layer.scale[:, None] * layer.inverse)
    assert float(error.max()) <= 0.501


def test_gradients_of_clamped_inputs_are_zero() -> None:
    layer = make(zero_point=100).train()
    x = torch.zeros(1, 8)
    x[0, 0], x[0, 1] = 1000.0, -1000.0
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None
    assert bool((x.grad[0, :2] == 0).all()) and bool((x.grad[0, 2:] != 0).all())


def test_a_state_dict_restores_the_layer() -> None:
    one, other = make(zeros=True, seed=1), make(zero_point=40, seed=2)
    x = torch.randn(4, 8)
    other.load_state_dict(one.state_dict())
    assert other.zero_point == one.zero_point
    assert torch.equal(other(x), one(x))
    assert torch.equal(other.kept, one.kept)
    assert torch.allclose(other.train()(x), one.train()(x))


def test_export_sees_the_two_operators_alone() -> None:
    exported = torch.export.export(make(), (torch.randn(3, 8),))
    called = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.l0compile.quantize.default, torch.ops.l0compile.int8_linear.default]


@pytest.mark.parametrize("bad", [0.0, float("inf"), float("nan"), -1.0])
def test_impossible_scales_are_refused(bad: float) -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    with pytest.raises(InputError, match="positive finite numbers in scale"):
        QuantizedLinear(weight, None, torch.ones(3), torch.tensor([1.0, bad]), 0)
    with pytest.raises(InputError, match="expected inverse"):
        QuantizedLinear(weight, None, torch.ones(2), torch.ones(2), 0)


def test_bfloat16_rounds_both_factors_and_trains() -> None:
    layer = Bfloat16Linear(nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(4)))
    x = torch.randn(3, 5)
    wanted = (x.bfloat16().double() @ layer.weight.bfloat16().double().T + layer.bias.double()).float()
    assert torch.allclose(layer(x), wanted, atol=1e-6)
    assert torch.equal(layer(x), torch.ops.l0compile.bfloat16_linear(x, layer.weight.bfloat16(), layer.bias))
    layer(x).sum().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.any())
