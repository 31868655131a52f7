"""Processes started by torchrun: steps are those of one process with all their batches, and a whole search works."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_task import TinyOptions, TinyTask, student
from torch import Tensor, nn

from l0compile.errors import BuildError
from l0compile.gates import Block, attach, named_gates
from l0compile.tasks import Schedule, train
from l0compile.tasks.team import Assignment, gates_of, joined
from l0compile.tasks.training import _APART

HERE = Path(__file__).parent
SCHEDULE = Schedule(6, batch=8, weight_rate=1e-3)

TRAIN = """
import sys
from safetensors.torch import save_file
from test_team import SCHEDULE, gated
from tiny_task import TinyOptions, TinyTask, student
from l0compile.gates import Budget, named_gates
from l0compile.tasks import assist, joined, train

task = TinyTask(TinyOptions())
with joined() as team:
    if team.rank > 0:
        assist(task, team)
    else:
        frozen, moving = student(task), gated(student(task))
        done = train(task, frozen, SCHEDULE, team=team)
        budget = Budget(moving, 0.5, 6, warmup=0.0)
        train(task, moving, SCHEDULE, budget=budget, team=team)
        assert done.steps == SCHEDULE.steps
        alpha = named_gates(moving)["up.l0_block"].log_alpha
        save_file({"output": frozen(*task.example()), "alpha": alpha}, sys.argv[1])
"""

SEARCH = """
import sys
import tiny_task
from l0compile.cli import main
sys.exit(main(sys.argv[1:]))
"""

LOST = """
import os
from tiny_task import TinyOptions, TinyTask
from l0compile.tasks import Schedule, joined, train

task = TinyTask(TinyOptions())
with joined() as team:
    if team.rank > 0:
        os._exit(0)
    train(task, task.dense(), Schedule(5), team=team)
"""


def gated(model: nn.Module) -> nn.Module:
    """With gates that are open but may close."""
    return attach(model, {"up": Block(4, 1), "down": Block(4, 1)}, init=0.8)


class Both(TinyTask):
    """The batches of two processes in one step."""

    def batches(self, size: int, seed: int):  # type: ignore[no-untyped-def]
        yield from zip(super().batches(size, seed), super().batches(size, seed + _APART), strict=True)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        return sum(super(Both, self).loss(model, part) for part in batch) / 2  # type: ignore[return-value]


def torchrun(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = folder / "script.py"
    file.write_text(f"import sys\nsys.path.append({str(HERE)!r})\n{script}")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    return subprocess.run(
        [*command, str(file), *arguments], capture_output=True, text=True, timeout=240, check=False
    )


def test_steps_are_those_of_one_process_with_all_batches(tmp_path: Path) -> None:
    ended = torchrun(TRAIN, tmp_path, str(tmp_path / "out.safetensors"))
    assert ended.returncode == 0, ended.stderr
    found = load_file(tmp_path / "out.safetensors")
    together, alone = (kind(TinyOptions()) for kind in (Both, TinyTask))
    outputs = []
    for task in (together, alone):
        model = student(task)
        train(task, model, SCHEDULE)
        outputs.append(model(*task.example()))
    torch.testing.assert_close(found["output"], outputs[0], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(found["output"], outputs[1], rtol=1e-3, atol=1e-5)
    before = named_gates(gated(student(alone)))["up.l0_block"].log_alpha
    assert (found["alpha"] != before).any()


@pytest.mark.slow
def test_a_whole_search(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = torchrun(SEARCH, tmp_path, "search", str(HERE / "tiny.toml"), "--quick", "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    assert json.loads((out / "result.json").read_text())["rows"]
    assert ended.stdout.count("chosen model, study and report") == 1


def test_a_process_that_is_gone_is_told(tmp_path: Path) -> None:
    ended = torchrun(LOST, tmp_path)
    assert ended.returncode != 0 and BuildError.__name__ in ended.stderr, ended.stderr
    assert "lost the others" in ended.stderr


@pytest.mark.parametrize("size", ["1", "4"])
def test_without_torchrun_there_is_no_team(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    with joined() as team:
        assert team is None


def test_an_assignment_survives_json() -> None:
    model = gated(TinyTask(TinyOptions()).dense())
    given = Assignment(gates_of(model), ("up.weight",), 8, 3, "float32")
    assert Assignment.from_json(json.loads(json.dumps(given.to_json()))) == given
    assert ("up", Block(4, 1)) in given.gates
