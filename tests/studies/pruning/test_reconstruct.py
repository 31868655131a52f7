"""Weights layer by layer, against regression written out and against plain masking."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_task import TinyTask
from torch import Tensor, nn

from l0compile.gates import Block, Neuron, attach, dense_weight, harden, init_from_scores, named_gates
from l0compile.studies.pruning.curvature import DAMPING
from l0compile.studies.pruning.masks import live_columns, live_mask
from l0compile.studies.pruning.reconstruct import _RIDGE, reconstruct

LAYERS = ("query", "key", "value", "out", "up", "down")


def calibration(task: TinyTask) -> list[Tensor]:
    return list(task.calibration())


def pruned(task: TinyTask, density: float) -> nn.Module:
    """The tiny transformer with some gates closed, and its weights as they were."""
    generator = torch.Generator().manual_seed(0)
    patterns = {name: Block(4, 1) for name in LAYERS[:-1]}
    model = attach(task.dense(), {**patterns, "down": (Block(4, 4), Neuron())})
    scores = {
        name: torch.rand(gate.log_alpha.shape, generator=generator)
        for name, gate in named_gates(model).items()
    }
    init_from_scores(model, scores, density, band=0.0)
    return harden(model, values="binary")


def test_with_everything_live_nothing_changes(task: TinyTask) -> None:
    dense, model = task.dense(), attach(task.dense(), dict.fromkeys(LAYERS, Block(4, 1)))
    for gate in named_gates(model).values():
        gate.set_constant(torch.ones_like(gate.log_alpha), torch.zeros(5, dtype=torch.float64))
    reconstruct(model, dense, calibration(task), task.predict)
    for name in LAYERS:
        layer, origin = model.get_submodule(name), dense.get_submodule(name)
        assert torch.allclose(dense_weight(layer), origin.weight, atol=1e-4), name
        assert torch.allclose(layer.bias, origin.bias, atol=1e-4), name


def masked(model: nn.Sequential, rows: int, seed: int) -> nn.Sequential:
    """A copy with random live blocks."""
    generator = torch.Generator().manual_seed(seed)
    gated = attach(copy.deepcopy(model), {"0": Block(rows, 1), "1": Block(rows, 2)})
    for gate in named_gates(gated).values():
        open_ = (torch.rand(gate.log_alpha.shape, generator=generator) < 0.6).float()
        gate.set_constant(open_, torch.zeros(5, dtype=torch.float64))
    return gated


def direct(
    weight: Tensor, x: Tensor, y: Tensor, share: Tensor, live: Tensor, bias: bool
) -> tuple[Tensor, Tensor]:
    """(V, b' - b): regression of ``x W^T`` on the live columns of y and, with a bias, 1, drawn towards W."""
    weight, x, y, share = weight.double(), x.double(), y.double(), share.double()
    centred = (x - share @ x, y - share @ y) if bias else (x, y)
    pull = _RIDGE * (share @ y.square()).mean()
    pull = pull + DAMPING * ((share @ centred[1].square()).mean() + pull)
    solved, root = torch.zeros_like(weight), share.sqrt()
    for row, columns in enumerate(live):
        rows = torch.cat([centred[1] * root[:, None], pull.sqrt() * torch.eye(y.shape[1])])
        wanted = torch.cat([centred[0] @ weight[row] * root, pull.sqrt() * weight[row]])
        if columns.any():
            solved[row, columns] = torch.linalg.lstsq(rows[:, columns], wanted[:, None]).solution[:, 0]
    return solved, share @ (x @ weight.T - y @ solved.T) * bias


@given(st.sampled_from([1, 2, 4]), st.booleans(), st.booleans(), st.integers(0, 500))
def test_a_layer_is_the_regression_on_what_those_before_it_give(
    rows: int, bias: bool, weighed: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    dense = nn.Sequential(nn.Linear(6, 7, bias), nn.Linear(7, 5, bias)).eval().requires_grad_(False)
    model = masked(dense, rows, seed).eval().requires_grad_(False)
    batches = [torch.randn(9, 3, 6) + 0.5 for _ in range(3)]
    tokens = {name: [torch.rand(27) for _ in range(4)] for name in "01"}  # of one batch more than there is
    reconstruct(model, dense, batches, lambda net, batch: net(batch), tokens if weighed else None)
    x = torch.cat(batches).flatten(0, 1)
    y = x
    for place in (0, 1):
        heavy = torch.cat(tokens[str(place)][:3]) if weighed else torch.ones(len(x))
        wanted, shift = direct(dense[place].weight, x, y, heavy / heavy.sum(), live_mask(model[place]), bias)
        assert torch.allclose(dense_weight(model[place]).double(), wanted, rtol=1e-3, atol=1e-3)
        if bias:
            assert torch.allclose((model[place].bias - dense[place].bias).double(), shift, atol=1e-3)
        x, y = dense[place](x), model[place](y)


def test_where_no_token_counts_all_are_alike(task: TinyTask) -> None:
    one, other, batches = pruned(task, 0.5), pruned(task, 0.5), calibration(task)
    reconstruct(one, task.dense(), batches, task.predict)
    nothing = [torch.zeros(batch.numel()) for batch in batches]
    reconstruct(other, task.dense(), batches, task.predict, dict.fromkeys(LAYERS, nothing))
    for name in LAYERS:
        assert torch.equal(dense_weight(one.get_submodule(name)), dense_weight(other.get_submodule(name))), (
            name
        )


@pytest.mark.parametrize("density", [0.3, 0.6])
def test_the_output_is_nearer_to_the_dense_one_than_by_masks_alone(task: TinyTask, density: float) -> None:
    model = pruned(task, density)
    batch = next(task.batches(64, 3))
    with torch.no_grad():
        before = float(task.loss(model, batch))
        reconstruct(model, task.dense(), calibration(task), task.predict)
        assert float(task.loss(model, batch)) < 0.5 * before


def test_closed_weights_stay_closed(task: TinyTask) -> None:
    model = pruned(task, 0.5)
    before = {name: live_columns(model.get_submodule(name)) for name in LAYERS}
    reconstruct(model, task.dense(), calibration(task), task.predict)
    for name, live in before.items():
        layer = model.get_submodule(name)
        assert torch.equal(live_columns(layer), live)
        mask = live_mask(layer)
        assert 0.05 < float((~mask).float().mean()) < 0.95
        assert not dense_weight(layer)[~mask].any() and dense_weight(layer)[mask].count_nonzero() > 0


def test_the_dense_model_and_other_parameters_are_left_as_they_were(task: TinyTask) -> None:
    dense, model = task.dense(), pruned(task, 0.5)
    reconstruct(model, dense, calibration(task), task.predict)
    fresh = task.dense().state_dict()
    assert dense.state_dict().keys() == fresh.keys()
    assert all(torch.equal(value, fresh[name]) for name, value in dense.state_dict().items())
    assert all("forward" not in module.__dict__ for net in (dense, model) for module in net.modules())
    for name in ("embed", "first", "second"):
        for key, value in model.get_submodule(name).state_dict().items():
            assert torch.equal(value, fresh[f"{name}.{key}"])
