"""Losses of whole assignments: as evaluated with hooks, and to first order around one of them."""

import copy

import pytest
import torch
from torch import Tensor, nn

from l0compile.attention.assignment.assign import EveryKey, assign_patterns
from l0compile.attention.assignment.joint import JointLosses
from l0compile.errors import DataError
from tests.attention.window_pattern import Near

EVERY, NARROW, WIDE = EveryKey(), Near(1, 1), Near(6, 6)


class Layer(nn.Module):
    """Two heads of eight features; queries and keys come from elsewhere, so that the output is linear in values."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.out = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, keys = given
        k, v = (t.unflatten(-1, (2, 8)).transpose(1, 2) for t in (keys, self.value(x)))
        y = nn.functional.scaled_dot_product_attention(k, k, v)
        return x + self.out(y.transpose(1, 2).flatten(-2)), keys


class Model(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x, x))[0]


def predict(model: nn.Module, batch: object) -> Tensor:
    return model(batch)  # type: ignore[no-any-return]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Model(Layer(), Layer())


BATCHES = [torch.randn(2, 40, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def test_a_loss_is_the_squared_change_of_the_output(model: nn.Module) -> None:
    losses, patterns = JointLosses(model, BATCHES, predict), {"0": (NARROW, EVERY), "1": (WIDE, NARROW)}
    sparse = assign_patterns(copy.deepcopy(model), patterns)
    with torch.no_grad():
        wanted = sum(float((sparse(x) - model(x)).double().square().sum()) for x in BATCHES) / 3
    assert losses.of(patterns) == pytest.approx(wanted, rel=1e-5) and wanted > 1e-3
    assert losses.of(dict(reversed(patterns.items()))) == losses.of(patterns) and losses.evaluations == 1
    assert losses.of({"0": (EVERY, EVERY)}) == pytest.approx(0.0, abs=1e-9)


def test_changes_are_exact_where_the_output_is_linear_in_the_last_heads(model: nn.Module) -> None:
    """The second layer's heads enter the output linearly: projections of every joint change add up."""
    losses = JointLosses(model, BATCHES, predict)
    before, options = {"0": (NARROW, NARROW), "1": (WIDE, EVERY)}, (EVERY, NARROW, WIDE)
    found = losses.around(before, {"1": options}, projections=200)
    assert found.residual.shape == (600,) and found.changes["1"].shape == (600, 3, 2)
    changed = found.residual + found.changes["1"][:, 1, 0] + found.changes["1"][:, 1, 1]
    after = losses.of({**before, "1": (NARROW, NARROW)})
    assert float(changed.square().mean()) == pytest.approx(after, rel=0.15)
    assert float(found.residual.square().mean()) == pytest.approx(losses.of(before), rel=0.15)
    assert float(found.changes["1"][:, 2, 0].abs().max()) < 1e-4  # the pattern that it has already


def test_what_other_layers_do_enters_the_estimate(model: nn.Module) -> None:
    losses, options = JointLosses(model, BATCHES, predict), (EVERY, NARROW, WIDE)
    before = {"0": (EVERY, EVERY), "1": (EVERY, EVERY)}
    found = losses.around(before, {"0": options, "1": options}, projections=200)
    changed = sum(found.changes[site][:, 1].sum(1) for site in "01")
    wanted = losses.of({"0": (NARROW, NARROW), "1": (NARROW, NARROW)})
    assert float(changed.square().mean()) == pytest.approx(wanted, rel=0.25)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_nothing_to_calibrate_on_is_refused(model: nn.Module) -> None:
    with pytest.raises(DataError, match="one batch or more"):
        JointLosses(model, [], predict)
    with pytest.raises(DataError, match="never reached somewhere"):
        JointLosses(model, BATCHES, predict).around({}, {"somewhere": (EVERY,)})
