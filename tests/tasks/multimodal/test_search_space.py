"""The shipped space of reviews fits the model that it is about."""

from pathlib import Path

import pytest

from l0compile.gates import Budget, attach
from l0compile.hardware.targets import shipped_folder
from l0compile.studies.space.read import read_space
from tests.tasks.multimodal.stand_in import make_task


def test_its_gates_and_feeds_are_those_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = read_space(shipped_folder("search_spaces") / "reviews.toml")
    task = make_task(tmp_path, monkeypatch, heads=space.options.heads)
    model = task.build(0)
    for group in space.gates:
        attach(model, dict.fromkeys(group.patterns, group.granularity(None)))
    items = {item.name: item for item in Budget(model, 0.5, 10, feeds=space.feeds).items}
    assert set(items) == {
        f"layers.{n}.{name}" for n in (0, 1) for name in ["query", "key", "value", "out", "up", "down"]
    }
    heads = [gate for gate in items["layers.1.out"].gates if gate.log_alpha.numel() == space.options.heads]
    assert heads and all(heads[0] in items[f"layers.1.{name}"].gates for name in ("query", "key", "value"))
    assert len(items["layers.0.up"].rows) == 1  # the neurons that read it
