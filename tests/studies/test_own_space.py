"""A search space over a model of the user's own: a function in a file beside the space makes the task."""

from pathlib import Path

import pytest
import torch

from l0compile.cli import main
from l0compile.errors import ConfigError
from l0compile.frontend.user_functions import call_function
from l0compile.studies.result import SearchResult
from l0compile.studies.space.read import read_space
from l0compile.tasks import make_task
from l0compile.tasks.registry import Arguments

SPACE = """
[task]
name = "mine.py:make"
width = 64

[latency]
ms = 1000.0

[search]
seconds = 3600

[[gates]]
name = "all"
kind = "block"
patterns = ["0", "2"]
shapes = ["4x1", "8x1"]
density = [0.2, 0.8]
"""

MINE = """
import torch
from l0compile.tasks import OwnTask

def make(width=32, rate=0.0):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, width), torch.nn.ReLU(), torch.nn.Linear(width, 8)).eval()
    batches = [(torch.randn(64, 16),) for _ in range(4)]

    def distance(other):
        (x,) = batches[0]
        return (other(x) - model(x).detach()).square().mean()

    return OwnTask(model, (torch.randn(4, 16),), distance, lambda m: -float(distance(m)), batches)

def other(width):
    return 3

def fails(width):
    raise RuntimeError("no data here")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_the_file_is_beside_the_space_and_other_keys_are_arguments(folder: Path) -> None:
    space = read_space(folder / "space.toml")
    assert space.task == f"{folder / 'mine.py'}:make" and space.options == Arguments({"width": 64})
    task = make_task(space.task, space.options)
    assert task.dense()(*task.example()).shape == (4, 8)
    assert task.dense().get_submodule("0").out_features == 64
    factory, arguments = task.workload() or ("", {})
    model, example = call_function(factory, "factory", **arguments)
    assert torch.equal(model(*example), task.dense()(*task.example()))
    assert space.fingerprint() != read_space(write(folder, "width = 64", "width = 32")).fingerprint()


@pytest.mark.slow
def test_a_whole_search_from_a_shell(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["search", str(folder / "space.toml"), "--quick", "--out", str(out)]) == 0
    result = SearchResult.load(out / "result.json")
    assert result.chosen is not None and result.facts["data"]["text"] == "the caller's own data"
    assert set(result.chosen.layers) == {"0", "2"}
    assert "dense PyTorch" in {row.name for row in result.rows if row.latency is not None}
    # The quality is the caller's own, here a distance from 0.
    assert {row.quality for row in result.rows if row.dense and row.latency is not None} == {0.0}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("mine.py:make", "absent.py:make", r"task: .*absent\.py: no such file; expected a Python file"),
        ("mine.py:make", "mine.py:absent", r"has no function 'absent'; it has: .*make, other, fails"),
        ("mine.py:make", "mine.py:other", r"expected a l0compile\.tasks\.OwnTask or another Task, got int"),
        ("mine.py:make", "mine.py:fails", r"raised RuntimeError: no data here"),
        ("mine.py:make", "no_such_module:make", r"no_such_module cannot be loaded: ModuleNotFoundError"),
        ("width = 64", "widht = 64", r"unexpected keyword argument 'widht'"),
        ("width = 64", "width = 1979-05-27", r"task: expected texts, numbers, lists and tables"),
        ("mine.py:make", "mine", r"task\.name: expected one of .*, or FILE\.py:FUNCTION of your own"),
    ],
)
def test_each_way_to_get_it_wrong_has_its_message(folder: Path, old: str, new: str, reason: str) -> None:
    file = write(folder, old, new)
    with pytest.raises(ConfigError, match=reason):
        space = read_space(file)
        make_task(space.task, space.options)


def test_text_is_for_tasks_that_read_some(folder: Path) -> None:
    space = read_space(folder / "space.toml")
    with pytest.raises(ConfigError, match="brings its own data; leave --text out"):
        make_task(space.task, space.options, folder)


def write(folder: Path, old: str, new: str) -> Path:
    file = folder / "changed.toml"
    file.write_text(SPACE.replace(old, new))
    return file
