"""The task "digits": images that scikit-learn ships, patches as tokens."""

from pathlib import Path

import pytest
import torch

from l0compile.errors import ConfigError
from l0compile.tasks.multimodal.digits import DigitsOptions, DigitsTask, dense_workload

pytest.importorskip("sklearn")


def test_every_image_is_in_one_part() -> None:
    parts = DigitsTask(DigitsOptions()).parts
    sizes = {part: len(examples.labels) for part, examples in parts.items()}
    assert sum(sizes.values()) == 1797 and 300 < sizes["held_out"] < 420 and 120 < sizes["validation"] < 240
    rows = {part: {image.numpy().tobytes() for image in each.inputs[0]} for part, each in parts.items()}
    assert not rows["train"] & rows["held_out"] and not rows["train"] & rows["validation"]
    assert all(each.labels.unique().numel() == 10 for each in parts.values())


def test_patches_of_four_pixels_are_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path))
    options = {"patch": 4, "width": 32, "steps": 150}
    task = DigitsTask(DigitsOptions(**options))
    model = task.train_dense(0)
    assert task.quality(model, "held_out") > 0.85
    elsewhere, example = dense_workload(options)
    assert example[0].shape == (32, 8, 8) and torch.equal(elsewhere(*example), model(*task.example()))


def test_wrong_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="heads: expected a divisor"):
        DigitsOptions(heads=5)
    with pytest.raises(ConfigError, match="digits brings its own data"):
        DigitsTask(DigitsOptions(), tmp_path)
