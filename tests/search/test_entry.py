"""A search with a model and a loop of one's own."""

from pathlib import Path

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import ConfigError, DataError
from l0compile.search import Silent
from l0compile.search.latency import CHOSEN, PYTORCH
from l0compile.search.space import Effort, TrainingPlan
from l0compile.tasks import OwnTask


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 4)
    ).eval()


def distance(found: nn.Module, dense: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        wanted = dense(x)
    return (found(x) - wanted).square().mean()


@pytest.mark.slow
def test_a_model_of_ones_own_is_searched(tmp_path: Path) -> None:
    dense, x = model(), torch.randn(256, 32)
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    result = l0.search(
        dense,
        lambda found: distance(found, dense, x[torch.randint(0, 256, (32,))]),
        lambda found: -float(distance(found, dense, x)),
        {"0": [l0.Block(4, 1), l0.Block(4, 4)], "2": l0.Block(4, 1)},
        args=(x[:16],),
        calibration=[(x,)],
        budget_ms=1000.0,
        out=tmp_path,
        effort=Effort(trials=2, seconds=3600, sweep=(), thorough=False),
        training=TrainingPlan(candidate_steps=2, tune_steps=4),
        progress=Silent(),
    )
    assert result.chosen is not None and set(result.chosen.layers) == {"0", "2"}
    assert "no factory" in result.row(PYTORCH).note and result.row(CHOSEN).latency is not None
    assert torch.allclose(l0.load(tmp_path / "model")(x[:16]), dense(x[:16]), atol=0.2)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())


@pytest.mark.parametrize(
    ("space", "budget", "complaint"),
    [
        ({"0": l0.Block(4, 1)}, None, "budget_ms: expected milliseconds above 0, got None"),
        ({"0": l0.Block(4, 1)}, float("nan"), "budget_ms: expected milliseconds above 0, got nan"),
        ({}, 1.0, "expected a pattern of modules"),
        ({"0": []}, 1.0, "'0': expected Block"),
        ({"0": [l0.Head(2)]}, 1.0, "'0': expected Block"),
    ],
)
def test_wrong_input_is_told(tmp_path: Path, space: object, budget: float | None, complaint: str) -> None:
    dense = model()
    with pytest.raises(ConfigError, match=complaint):
        l0.search(
            dense,
            lambda m: m,
            lambda m: 0.0,
            space,
            args=(torch.ones(1, 32),),
            budget_ms=budget,
            out=tmp_path,
        )
    assert not any(tmp_path.iterdir())


def test_an_own_task_takes_what_the_model_returns() -> None:
    class Several(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": x.unsqueeze(2), "b": x * 2, "c": x.argmax(1)}

    x = torch.randn(3, 4)
    task = OwnTask(Several(), (x,), lambda m: x.sum(), lambda m: 0.5)
    assert torch.equal(task.predict(task.dense(), (x,)), torch.cat([x, 2 * x], 1))
    assert task.quality(task.dense(), "validation") == 0.5 and list(task.calibration()) == [(x,)]
    with pytest.raises(DataError, match="at least one tuple"):
        OwnTask(Several(), (x,), lambda m: x.sum(), lambda m: 0.5, calibration=[])
    with pytest.raises(DataError, match="floating-point"):
        task.predict(Places(), (x,))


class Places(nn.Module):
    """Returns integers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.argmax(1)
