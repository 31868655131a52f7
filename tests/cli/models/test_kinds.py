"""What a name means is told before anything is loaded, and a wrong one says what the command takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from l0compile.cli.models.kinds import EXPORTED, FUNCTION, HUGGING_FACE, SAVED, is_shape, kind_of
from l0compile.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, file in (("saved", "manifest.json"), ("bert", "config.json"), ("empty", None)):
        (tmp_path / name).mkdir()
        if file:
            (tmp_path / name / file).write_text("{}")
    (tmp_path / "model.py").write_text("")
    (tmp_path / "m.pt2").write_bytes(b"")
    return tmp_path


def test_every_kind(folder: Path) -> None:
    assert kind_of("saved") == SAVED and kind_of("bert") == kind_of("bert/", saved=False) == HUGGING_FACE
    assert kind_of("m.pt2") == EXPORTED
    assert kind_of("model.py:make") == kind_of("a.b:make") == kind_of(f"{folder}/model.py:make") == FUNCTION
    assert is_shape("3072x768") and not is_shape("model.py:make")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "expected MODULE:FUNCTION, FILE.py:FUNCTION, FILE.pt2.*got 'nothing'"),
        ("saved/", "is compiled already"),
        ("empty", "a folder without config.json; expected"),
        ("absent.pt2", "no such file"),
        ("absent.py:make", "absent.py: no such file"),
        ("model.py", "did you mean model.py:make"),
        (":make", "got ':make'"),
        ("model.py:", "got 'model.py:'"),
    ],
)
def test_wrong_names(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        kind_of(name, saved=False)
    # What does not take saved models must not offer them.
    assert "a saved model's folder" not in str(error.value)
    if not name.startswith("saved"):
        with pytest.raises(ConfigError, match="a saved model's folder"):
            kind_of(name)


@pytest.mark.parametrize("command", ["explain", "bench", "compile --out x", "tune"])
def test_a_name_misspelt_loads_nothing(command: str) -> None:
    code = "import sys, l0compile.cli as c; print(c.main(sys.argv[1:]), 'torch' in sys.modules, 'tvm' in sys.modules)"
    name, *more = command.split()
    ran = subprocess.run(
        [sys.executable, "-c", code, name, "nothing", *more], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["1", "False", "False"] and "expected MODULE:FUNCTION" in ran.stderr
