"""Repair against direct regression."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_task import TinyTask
from torch import nn

from l0compile.errors import DataError
from l0compile.gates import Block, Neuron, attach, dense_weight, harden, init_from_scores
from l0compile.search.curvature import Curvature, gate_losses, measure_curvature
from l0compile.search.masks import live_mask
from l0compile.search.repair import least_squares, repair


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
    curvature = Curvature(gram, torch.ones(out))
    found, damped = least_squares(weight, curvature, support, rows), curvature.damped.double()
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


def test_repaired_candidate_is_what_hardening_keeps(task: TinyTask) -> None:
    model = attach(task.dense(), {"query": Block(4, 1)})
    curvature = measure_curvature(task.dense(), ["query"], task.calibration(), task.predict)
    init_from_scores(model, gate_losses(model, curvature), 0.5, band=0.0)
    repair(model, curvature)
    with torch.no_grad():
        before = model(task.example()[0])
        assert torch.allclose(before, harden(model, values="binary")(task.example()[0]), atol=1e-6)


def test_only_linear_layers_can_be_repaired() -> None:
    curvature = Curvature(torch.eye(2), torch.ones(2))
    with pytest.raises(DataError, match=r"'0': expected an nn.Linear, got ReLU"):
        repair(nn.Sequential(nn.ReLU()), {"0": curvature})
