"""``l0compile search``: which space is meant."""

from pathlib import Path

import pytest

from l0compile.cli.search import MISSED, exit_code, find_space
from l0compile.errors import ConfigError
from l0compile.hardware.targets import shipped_folder
from l0compile.studies.result import Requirement, SearchResult


def test_a_path_comes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilm").write_text("")
    monkeypatch.chdir(tmp_path)
    assert find_space("minilm") == Path("minilm")


@pytest.mark.parametrize("name", ["minilm", "reviews"])
def test_a_shipped_space_is_found_by_name(name: str) -> None:
    assert find_space(name) == shipped_folder("search_spaces") / f"{name}.toml"


@pytest.mark.parametrize("name", ["absent.toml", "minilm2", "."])
def test_an_unknown_space_lists_the_shipped_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a \.toml file or a shipped space"):
        find_space(name)


def test_the_command_tells_an_unknown_space(cli) -> None:
    code, _, err = cli("search", "no_such_space")
    assert code == 1 and "no_such_space" in err


def test_a_model_below_the_floor_of_quality_has_its_exit_code() -> None:
    def of(*asked: Requirement) -> int:
        return exit_code(SearchResult("t", "q", (), "r", (), (), asked=asked))

    floor, latency = (
        Requirement("floor", "0.5", False, "quality"),
        Requirement("budget", "1.1", False, "latency"),
    )
    assert (of(floor), of(latency), of(Requirement("floor", "0.9", True, "quality")), of()) == (
        MISSED,
        0,
        0,
        0,
    )
