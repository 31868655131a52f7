"""The task "reviews" on a small file in the form of the real one."""

from pathlib import Path

import pytest
import torch

from l0compile.errors import ConfigError
from l0compile.tasks import list_tasks, task_options
from l0compile.tasks import make_task as make_registered
from l0compile.tasks.multimodal.ablation import ablate
from l0compile.tasks.multimodal.reviews import ReviewsOptions, ReviewsTask, dense_workload
from tests.tasks.multimodal.stand_in import SMALL, make_task


def test_it_is_registered_and_refuses_other_text(tmp_path: Path) -> None:
    assert {"reviews", "digits"} <= set(list_tasks())
    with pytest.raises(ConfigError, match="reviews brings its own data"):
        ReviewsTask(ReviewsOptions(), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": []}, "modalities: expected at least one"),
        ({"modalities": ["text", "text"]}, "modalities: expected at least one, each once"),
        ({"modalities": ["sound"]}, "modalities"),
        ({"heads": 5}, "heads: expected a divisor"),
        ({"words": 1}, "words: expected 4 to 512"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_options("reviews", options)


def test_training_reads_text_and_table_and_ablation_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tmp_path, monkeypatch, 1500, modalities=("text", "table"), steps=150, dropout=0.0)
    model = task.train_dense(0)
    found = ablate(task, model)
    assert found.quality == task.quality(model, "held_out") > 0.9
    assert found.without["text"] < found.quality - 0.2 and found.without["table"] < found.quality - 0.03
    assert min(found.changed.values()) > 0.03
    again = task.train_dense(0)  # from the cache
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    elsewhere, example = dense_workload(
        {**SMALL, "modalities": ["text", "table"], "steps": 150, "dropout": 0.0}
    )
    assert torch.equal(elsewhere(*example), model(*task.example()))


def test_a_modality_that_is_ignored_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(tmp_path, monkeypatch)

    def by_rating(text: torch.Tensor, table: torch.Tensor, rating: torch.Tensor) -> torch.Tensor:
        return torch.cat([2.5 - rating, rating - 2.5], 1).float()

    found = ablate(task, by_rating)
    assert found.quality == 1.0 and found.changed["text"] == found.changed["table"] == 0.0
    assert found.changed["rating"] > 0.3
    assert found.without["rating"] == pytest.approx(1 - found.changed["rating"])


def test_calibration_has_no_padding_and_every_example_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tmp_path, monkeypatch, calibration=64)
    seen = list(task.calibration())
    assert sum(len(batch.labels) for batch in seen) == 64
    assert all((batch.inputs[0] != 0).all() for batch in seen)
    assert len({batch.inputs[0].shape[1] for batch in seen}) > 1
    whole = next(iter(task.evaluation("train")))
    model = task.build(0)
    short = seen[0]
    row = next(
        place for place, ids in enumerate(whole.inputs[0])
        if torch.equal(ids[: short.inputs[0].shape[1]], short.inputs[0][0])
    )  # fmt: skip
    padded = tuple(each[row : row + 1] for each in whole.inputs)
    torch.testing.assert_close(model(*padded), model(*(each[:1] for each in short.inputs)))


def test_options_choose_what_the_model_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_task(tmp_path, monkeypatch)
    for modalities, tokens in ((["rating"], [1]), (["table", "text"], [5, 12])):
        options = task_options("reviews", {**SMALL, "modalities": modalities})
        task = make_registered("reviews", options)
        assert [each.shape[1] for each in task.example()] == tokens
        assert next(iter(task.batches(16, 0))).labels.shape == (16,)
        assert task.predict(task.build(0), next(iter(task.batches(16, 0)))).shape == (16, 2)
