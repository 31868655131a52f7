"""The user's function is found and run, and each way to get it wrong has its own message."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from l0compile.cli.models.factory import make
from l0compile.errors import ConfigError


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("beside", "user_model"):
        sys.modules.pop(name, None)


def test_a_file_is_run_with_what_lies_beside_it(model_file: Path) -> None:
    (model, args, kwargs), left = make(f"{model_file}:make", {"batch": 2})
    assert isinstance(model, torch.nn.Module) and not model.training
    assert model(*args).shape == (3, 4) and kwargs == {} and left == {"batch": 2}


def test_inputs_by_name_and_sizes_as_arguments(model_file: Path) -> None:
    (model, args, kwargs), left = make(f"{model_file}:named", {"batch": 5, "tokens": 7})
    assert model(*args, **kwargs).shape == (5, 4) and left == {"tokens": 7}


def test_a_module_is_imported_from_the_current_folder(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_file.parent)
    assert make("user_model:make")[0][1][0].shape == (3, 16)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("absent", "has no function 'absent'; it has: make, Named, named, boom, wrong"),
        ("CONSTANT", "has no function 'CONSTANT'"),
        ("boom", "raised RuntimeError: no weights here"),
        ("wrong", r"expected \(nn.Module, tuple of tensors\), or \(nn.Module, tuple, dict\).*, got int"),
        ("wrong_pair", r"got \(int, int\)"),
    ],
)
def test_a_wrong_function_is_explained(model_file: Path, function: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make(f"{model_file}:{function}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:f", "cannot be loaded: ModuleNotFoundError"),
        ("absent.py:f", "absent.py: no such file"),
    ],
)
def test_a_wrong_place_is_explained(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make(name)


def test_a_file_that_fails_is_explained(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        make(f"{tmp_path}/broken.py:make")
