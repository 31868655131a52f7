"""What is installed: every dependency pinned, the pins of TVM the same everywhere, data folders in the wheel."""

import re
import tomllib
from pathlib import Path

import l0compile
from l0compile.hardware import _tvm

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
]
PINS = dict(line.split("==") for line in LINES)


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~ ;\[]", requirement)[0].lower().replace("_", "-")


def requirements() -> list[str]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [*PROJECT["project"]["dependencies"], *(item for extra in extras for item in extra)]


def test_every_dependency_is_pinned() -> None:
    assert [item for item in requirements() if name_of(item) not in PINS] == []


def test_the_pins_are_exact_and_in_order() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in LINES)
    explained = ("torch", "apache-tvm", "apache-tvm-ffi")  # first, each with its reason
    names = list(PINS)
    assert names == [*explained, *sorted(set(names) - set(explained))]
    assert len(names) == len(LINES)


def test_the_tvm_pair_is_the_same_in_project_constraints_and_error_message() -> None:
    for package in ("apache-tvm", "apache-tvm-ffi"):
        assert f"{package}=={PINS[package]}" in PROJECT["project"]["dependencies"]
    assert f"apache-tvm-ffi=={PINS['apache-tvm-ffi']}" in _tvm.INSTALL


def test_no_index_is_named() -> None:
    for file in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        assert "index-url" not in (ROOT / file).read_text()


def test_the_version_is_one() -> None:
    assert PROJECT["project"]["version"] == l0compile.__version__


def test_the_data_folders_are_shipped() -> None:
    shipped = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert shipped == {name: f"l0compile/_data/{name}" for name in ("targets", "search_spaces")}
    assert all((ROOT / name).is_dir() for name in shipped)
