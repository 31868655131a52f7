"""A training that was interrupted goes on from its file; another training does not."""

from pathlib import Path

import pytest
import torch
from tiny_task import TinyTask, student
from torch import nn

from l0compile.tasks import Checkpoint, Schedule, train

SCHEDULE = Schedule(8, batch=8, weight_rate=1e-3)


def interrupted(task: TinyTask, file: Path, after: int) -> nn.Module:
    """A model whose training was stopped by Ctrl-C after so many steps, each of them written."""

    def stop(step: int) -> None:
        if step > after:
            raise KeyboardInterrupt

    model = student(task)
    with pytest.raises(KeyboardInterrupt):
        train(task, model, SCHEDULE, on_step=stop, checkpoint=Checkpoint(file, "one", every_s=0.0))
    return model


def test_it_goes_on_where_it_was(task: TinyTask, tmp_path: Path) -> None:
    file = tmp_path / "training.safetensors"
    interrupted(task, file, 5)
    steps: list[int] = []
    model = student(task)
    done = train(task, model, SCHEDULE, on_step=steps.append, checkpoint=Checkpoint(file, "one"))
    assert steps == [6, 7, 8] and done.steps == 8
    assert train(task, model, SCHEDULE, checkpoint=Checkpoint(file, "one")).steps == 8
    alone = student(task)
    train(task, alone, SCHEDULE)
    before, after = (task.loss(net, next(task.batches(64, 77))).item() for net in (student(task), model))
    # The optimiser's moments and the rates went on too: it is as good as one that was not interrupted.
    assert after < 0.5 * before and after < 1.3 * task.loss(alone, next(task.batches(64, 77))).item()


def test_parameters_are_those_on_file(task: TinyTask, tmp_path: Path) -> None:
    file = tmp_path / "training.safetensors"
    model = student(task)
    kept = Checkpoint(file, "one")
    train(task, model, SCHEDULE, checkpoint=kept)
    fresh = student(task)
    train(task, fresh, SCHEDULE, checkpoint=kept)  # all of its steps are done
    for one, other in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("content", ["another key", "another model", "garbage", "cut off"])
def test_other_files_are_not_gone_on_from(task: TinyTask, tmp_path: Path, content: str) -> None:
    file = tmp_path / "training.safetensors"
    if content == "garbage":
        file.write_bytes(b"no tensors" * 9)
    elif content == "another model":
        other = nn.Sequential(nn.Linear(4, 4))
        Checkpoint(file, "one").save(
            dict(other.named_parameters()), torch.optim.AdamW(other.parameters()), 3, 1.0, finished=True
        )
    else:
        interrupted(task, file, 5)
        if content == "cut off":
            file.write_bytes(file.read_bytes()[:-100])
    steps: list[int] = []
    key = "two" if content == "another key" else "one"
    train(task, student(task), SCHEDULE, on_step=steps.append, checkpoint=Checkpoint(file, key))
    assert steps == list(range(1, 9))


def test_it_is_written_now_and_then_only(task: TinyTask, tmp_path: Path) -> None:
    file = tmp_path / "training.safetensors"
    seen: list[bool] = []
    train(
        task,
        student(task),
        SCHEDULE,
        on_step=lambda _: seen.append(file.exists()),
        checkpoint=Checkpoint(file, "one", every_s=600.0),
    )
    assert not any(seen) and file.exists() and not file.with_suffix(".draft").exists()
