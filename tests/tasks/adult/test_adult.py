"""FT-Transformer and the perceptron: they learn, gates fit on columns and representation, compiled they agree."""

from pathlib import Path
from typing import Literal

import pytest
import torch

import l0compile as l0
from l0compile.errors import ConfigError
from l0compile.gates import Feature, Head, Neuron, harden
from l0compile.tasks import (
    AdultOptions,
    AdultTask,
    Schedule,
    make_task,
    representation_gate,
    train,
    train_gated,
)
from l0compile.tasks.adult.census import COLUMNS
from tests.tasks.adult.people import write_people

MODELS: tuple[Literal["ft-transformer", "mlp"], ...] = ("ft-transformer", "mlp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "adult")


@pytest.fixture(scope="module", params=MODELS)
def task(request: pytest.FixtureRequest, folder: Path) -> AdultTask:
    made = make_task("adult", AdultOptions(model=request.param, width=32, batch=8), folder)
    assert isinstance(made, AdultTask)
    return made


def test_it_learns(task: AdultTask) -> None:
    model = task.build(0)
    before = task.quality(model, "held_out")
    train(task, model, Schedule(250, batch=64, weight_rate=3e-3, embeddings=True, seed=1))
    assert task.quality(model, "held_out") > before + 0.04


def test_the_same_seed_gives_the_same_model(task: AdultTask) -> None:
    one, other, third = (task.build(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not torch.equal(one["classify.weight"], third["classify.weight"])


def test_a_quarter_of_the_features_compiles_exactly(task: AdultTask) -> None:
    model = task.build(0)
    done = train_gated(task, model, representation_gate(task), 0.25, Schedule(12, batch=64, seed=1))
    assert done.achieved == 0.25
    compiled = l0.compile(model, task.example(), dynamic_shapes=task.dynamic_shapes())
    expected, got = task.logits(model, "held_out"), task.logits(compiled, "held_out")
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(got.argmax(1), expected.argmax(1))


def test_a_closed_column_is_not_read(task: AdultTask) -> None:
    model = l0.attach(task.build(0), {"embed.columns": Feature(len(COLUMNS))})
    with torch.no_grad():
        model.embed.columns.l0_feature.log_alpha[6:10] = -5.0
    harden(model)
    compiled = l0.compile(model, task.example(), dynamic_shapes=task.dynamic_shapes())
    numbers, categories = task.example()
    changed = categories.clone()
    changed[:, :4] = 0
    torch.testing.assert_close(
        compiled(numbers, changed), model(numbers, categories).detach(), rtol=1e-5, atol=1e-5
    )


def test_heads_and_neurons_of_the_transformer(folder: Path) -> None:
    task = AdultTask(AdultOptions(width=32, batch=8), folder)
    model = l0.attach(task.build(0), {"layers.*.out": Head(8), "layers.*.down": Neuron()})
    harden(model, 0.5, scope="group")
    compiled = l0.compile(model, task.example(), dynamic_shapes=task.dynamic_shapes())
    torch.testing.assert_close(
        compiled(*task.example()), model(*task.example()).detach(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("values", "complaint"), [({"batch": 0}, "batch: expected 1"), ({"width": 12}, "multiple of 8")]
)
def test_options_out_of_range(values: dict[str, int], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        AdultOptions(**values)
