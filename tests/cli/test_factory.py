"""The user's function is found and run, and each way to get it wrong has its own message."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from l0compile.cli.factory import is_artifact, make
from l0compile.errors import ConfigError


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("beside", "user_model"):
        sys.modules.pop(name, None)


def test_a_file_is_run_with_what_lies_beside_it(model_file: Path) -> None:
    model, args = make(f"{model_file}:make")
    assert isinstance(model, torch.nn.Module) and not model.training
    assert model(*args).shape == (3, 4)


def test_a_module_is_imported_from_the_current_folder(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_file.parent)
    assert make("user_model:make")[1][0].shape == (3, 16)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("absent", "has no function 'absent'; it has: make, boom, wrong"),
        ("CONSTANT", "has no function 'CONSTANT'"),
        ("boom", "raised RuntimeError: no weights here"),
        ("wrong", r"expected \(nn.Module, tuple of tensors\), got int"),
        ("wrong_pair", r"got \(int, int\)"),
    ],
)
def test_a_wrong_function_is_explained(model_file: Path, function: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make(f"{model_file}:{function}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("plain", "expected MODULE:FUNCTION"),
        (":f", "expected MODULE:FUNCTION"),
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


def test_a_path_is_told_from_a_function(tmp_path: Path) -> None:
    assert is_artifact(str(tmp_path))
    assert is_artifact("no/colon/here")
    assert not is_artifact("package.module:make") and not is_artifact("model.py:make")
