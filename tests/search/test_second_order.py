"""Curvature, losses and repair against direct computation."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_task import TinyTask
from torch import nn

from l0compile.errors import DataError
from l0compile.gates import Block, Head, Neuron, attach, dense_weight, harden, init_from_scores, named_gates
from l0compile.search.masks import live_mask
from l0compile.search.second_order import DAMPING, gate_losses, least_squares, measure_curvature, repair


@given(
    st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 2, 4]), st.floats(0, 1), st.integers(0, 1000)
)
def test_least_squares_is_the_regression_on_each_support(
    out: int, width: int, rows: int, density: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, width, generator=generator)
    x = torch.randn(40, width, generator=generator) @ torch.randn(width, width, generator=generator)
    gram = x.T @ x / 40
    support = torch.rand(-(-out // rows), width, generator=generator) < density
    found = least_squares(weight, gram, support, rows)
    damped = (gram + DAMPING * gram.diagonal().mean() * torch.eye(width)).double()
    for row in range(out):
        live = support[row // rows]
        assert not found[row, ~live].any()
        wanted = torch.linalg.solve(damped[live][:, live], (damped @ weight[row].double())[live])
        assert torch.allclose(
            found[row, live].double(),
            wanted,
            rtol=1e-2,
            atol=1e-2 * float(wanted.abs().max() if len(wanted) else 0),
        )


def test_repair_lowers_the_output_error_and_keeps_closed_weights(task: TinyTask) -> None:
    dense = task.dense()
    curvature = measure_curvature(dense, ["up", "down"], task.calibration(), task.predict)
    model = attach(copy.deepcopy(dense), {"up": Block(4, 1), "down": (Block(4, 4), Neuron())})
    init_from_scores(model, gate_losses(model, curvature), 0.6, band=0.0)
    closed = {name: ~live_mask(model.get_submodule(name)) for name in ("up", "down")}
    batch = next(task.batches(64, 3))
    before = float(task.loss(model, batch).detach())
    repair(model, curvature)
    assert float(task.loss(model, batch).detach()) < 0.8 * before
    for name, mask in closed.items():
        assert 0.2 < float(mask.float().mean()) < 0.9
        assert torch.equal(
            dense_weight(model.get_submodule(name))[mask], dense.get_submodule(name).weight[mask]
        )


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


def test_repaired_candidate_is_what_hardening_keeps(task: TinyTask) -> None:
    model = attach(task.dense(), {"query": Block(4, 1)})
    curvature = measure_curvature(task.dense(), ["query"], task.calibration(), task.predict)
    init_from_scores(model, gate_losses(model, curvature), 0.5, band=0.0)
    repair(model, curvature)
    with torch.no_grad():
        before = model(task.example()[0])
        assert torch.allclose(before, harden(model, values="binary")(task.example()[0]), atol=1e-6)
