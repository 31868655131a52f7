"""Curvature and predicted losses against direct computation."""

import pytest
import torch
from torch import nn

from l0compile.errors import DataError
from l0compile.gates import Block, Head, Neuron, attach, named_gates
from l0compile.search.curvature import gate_losses, measure_curvature


def test_gram_and_sensitivity_of_a_linear_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).requires_grad_(True)
    batches = [torch.randn(50, 5) for _ in range(40)]
    found = measure_curvature(model, ["0", "1"], batches, lambda m, x: m(x))
    x = torch.cat(batches)
    assert torch.allclose(found["0"].gram, x.T @ x / len(x), atol=1e-4)
    # d(v . W2 y) / dy = W2^T v with v ~ N(0, I): the mean square is the squared norm of W2's column.
    assert torch.allclose(found["0"].sensitivity, model[1].weight.square().sum(0), rtol=0.15)
    assert torch.allclose(found["1"].sensitivity, torch.ones(3), rtol=0.15)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("granularity", [Block(4, 1), Block(4, 4), Block(3, 5), Head(2), Neuron()])
def test_losses_are_the_error_of_closing_one_gate(granularity: object) -> None:
    torch.manual_seed(1)
    layer = nn.Sequential(nn.Linear(8, 6, bias=False))
    x = torch.randn(500, 8) @ torch.randn(8, 8)
    curvature = measure_curvature(layer, ["0"], [x], lambda m, x: m(x))
    weight = layer[0].weight.detach().clone()
    attach(layer, {"0": granularity})
    ((name, losses),) = gate_losses(layer, curvature).items()
    gate = named_gates(layer)[name]
    for place in range(losses.numel()):
        z = torch.ones(losses.numel())
        z[place] = 0
        gate.set_constant(z.reshape(losses.shape), torch.zeros(5, dtype=torch.float64))
        change = (layer(x) - x @ weight.T).detach().square().mean(0) @ curvature["0"].sensitivity
        rows = gate.block[0] if isinstance(granularity, Block) else 6
        assert float(losses.flatten()[place]) * rows * gate.block[-1] == pytest.approx(
            float(change), rel=1e-3
        )


def test_layers_that_never_run_are_an_error() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    with pytest.raises(DataError, match="never reached unused"):
        measure_curvature(model, ["used", "unused"], [torch.ones(1, 2)], lambda m, x: m["used"](x))
