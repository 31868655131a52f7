"""A search with a model and a loop of one's own."""

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import ConfigError, DataError
from l0compile.studies.bench.engines import CHOSEN, PYTORCH
from l0compile.studies.entry import search, search_model, search_space
from l0compile.studies.space.space import Effort, TrainingPlan
from l0compile.studies.study.progress import Silent
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


@pytest.mark.slow
def test_a_model_of_ones_own_gets_a_precision_for_each_layer(tmp_path: Path) -> None:
    dense, x = model(), torch.randn(256, 32)
    result = l0.search(
        dense,
        lambda found: distance(found, dense, x[torch.randint(0, 256, (32,))]),
        lambda found: -float(distance(found, dense, x)),
        {"0": l0.Block(4, 4), "2": l0.Block(4, 4)},
        args=(x[:16],),
        calibration=[(x,)],
        budget_ms=1000.0,
        precision="int8",
        out=tmp_path,
        effort=Effort(trials=2, seconds=3600, sweep=(), thorough=False),
        training=TrainingPlan(candidate_steps=2, tune_steps=4),
        progress=Silent(),
    )
    assert (
        result.chosen is not None and [layer[-1] for layer in result.chosen.layers.values()] == ["int8"] * 2
    )
    loaded = l0.load(tmp_path / "model")
    assert {region.name: region.precision for region in loaded.explain().regions} == {
        "0": "int8", "2": "int8", "4": "float32",
    }  # fmt: skip
    assert torch.allclose(loaded(x[:16]), dense(x[:16]), atol=0.2)


BLOCKS = {"0": l0.Block(4, 1)}


@pytest.mark.parametrize(("place", "function"), [(0, search_space), (1, search_model)])
def test_each_form_takes_the_arguments_of_its_function(place: int, function: Callable[..., Any]) -> None:
    overload = inspect.signature(typing.get_overloads(search)[place])
    assert list(overload.parameters.values()) == list(inspect.signature(function).parameters.values())
    both = inspect.signature(search).parameters.values()
    assert not any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in both)
    assert set(overload.parameters) <= {each.name for each in both}


def test_both_forms_take_arguments_by_position_and_by_name(tmp_path: Path) -> None:
    for positional, named in (
        (("absent.toml", tmp_path), {}),
        (("absent.toml",), {"out": tmp_path}),
        ((), {"space": "absent.toml", "out": tmp_path}),
    ):
        with pytest.raises(ConfigError, match=r"absent\.toml: can't be read"):
            l0.search(*positional, **named)
    loop: dict[str, Any] = {"train_step": lambda m: m, "evaluate": lambda m: 0.0, "space": {}, "drop": 0.1}
    for positional, named in (
        ((model(), *list(loop.values())[:3]), {"drop": 0.1}),
        ((), {"model": model(), **loop}),
    ):
        with pytest.raises(ConfigError, match="expected a pattern of modules"):
            l0.search(*positional, args=(torch.ones(1, 32),), out=tmp_path, **named)


def test_arguments_of_the_other_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="budget_ms"):
        l0.search("absent.toml", tmp_path, budget_ms=3.0)
    with pytest.raises(TypeError, match=r"team|storage"):
        l0.search(model(), lambda m: m, lambda m: 0.0, BLOCKS, args=(), out=tmp_path, storage="sqlite:///x")
    with pytest.raises(TypeError, match="out"):
        l0.search("absent.toml")


@pytest.mark.parametrize(
    ("space", "budget", "complaint"),
    [
        (BLOCKS, {}, "expected one of budget_ms and drop, got None and None"),
        (BLOCKS, {"budget_ms": 1.0, "drop": 0.1}, r"expected one of budget_ms and drop, got 1\.0 and 0\.1"),
        (BLOCKS, {"budget_ms": float("nan")}, "budget_ms: expected milliseconds above 0, got nan"),
        (BLOCKS, {"drop": 1.5}, r"drop: expected a share above 0, up to 1, got 1\.5"),
        (BLOCKS, {"drop": 0.1, "artifact_mb": 0.0}, r"artifact_mb: expected megabytes above 0, got 0\.0"),
        ({}, {"budget_ms": 1.0}, "expected a pattern of modules"),
        ({"0": []}, {"budget_ms": 1.0}, "'0': expected Block"),
        ({"0": [l0.Head(2)]}, {"budget_ms": 1.0}, "'0': expected Block"),
        (
            BLOCKS,
            {"budget_ms": 1.0, "precision": ["int8", "int4"]},
            r"precision: .* float32, bfloat16, int8, .*'int4'",
        ),
        (BLOCKS, {"budget_ms": 1.0, "precision": []}, "precision: expected one or several"),
        (BLOCKS, {"budget_ms": 1.0, "precision": ["int8", "int8"]}, "precision: .* each once"),
        (BLOCKS, {"budget_ms": 1.0, "precision": "int8"}, "whole words of four"),
    ],
)
def test_wrong_input_is_told(tmp_path: Path, space: object, budget: dict[str, Any], complaint: str) -> None:
    dense = model()
    with pytest.raises(ConfigError, match=complaint):
        l0.search(
            dense, lambda m: m, lambda m: 0.0, space, args=(torch.ones(1, 32),), out=tmp_path, **budget
        )  # fmt: skip
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_model_of_ones_own_under_a_floor_and_a_limit(tmp_path: Path) -> None:
    dense, x = model(), torch.randn(256, 32)
    wanted = dense(x).detach()

    def quality(found: nn.Module) -> float:
        return 1.0 - float((found(x) - wanted).square().mean() / wanted.square().mean())

    limit = 2.0 + 4e-6 * 0.8 * sum(p.numel() for p in dense.parameters())
    result = l0.search(
        dense,
        lambda found: distance(found, dense, x[torch.randint(0, 256, (32,))]),
        quality,
        {"*": [l0.Block(4, 1), l0.Block(4, 4)]},
        args=(x[:16],),
        calibration=[(x,)],
        drop=0.3,
        artifact_mb=limit,
        out=tmp_path,
        effort=Effort(trials=2, seconds=20, sweep=(), thorough=False),
        training=TrainingPlan(candidate_steps=2, tune_steps=50),
        progress=Silent(),
    )
    assert result.chosen is not None and set(result.chosen.layers) == {"0", "2", "4"}
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 1e6 * limit
    assert "size" in result.facts["model"]


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
