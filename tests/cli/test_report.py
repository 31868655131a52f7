"""``l0compile report``: the same page again from the stored facts."""

import json
from pathlib import Path

import pytest

from l0compile.measurement import Ratio
from l0compile.report.write import write_report
from l0compile.studies.result import RESULT, Candidate, Latency, Row, SearchResult


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = (
        Row("dense", Latency(4.0, 3.9, 4.1), 1.0),
        Row("chosen", Latency(1.0, 0.9, 1.1), 0.95, dense=False, speedup=Ratio(4.0, 3.6, 4.4)),
    )
    candidates = (
        Candidate(0, {"density": 0.2}, "fitted", Latency(1.0, 0.9, 1.1), 0.95, front=True, chosen=True),
    )
    result = SearchResult("a search", "Spearman", rows, "dense", candidates, ())
    result.save(tmp_path / RESULT)
    write_report(result, tmp_path)
    return tmp_path


def test_the_page_is_drawn_again(cli, folder: Path) -> None:
    before = (folder / "report.html").read_text()
    for name in ("report.html", "pareto.png", "regions.png"):
        (folder / name).unlink()
    code, out, _ = cli("report", folder)
    assert code == 0 and "4.00×" in out and str(folder / "report.html") in out
    assert (folder / "report.html").read_text() == before
    assert (folder / "pareto.png").exists() and (folder / "regions.png").exists()


def test_json_holds_the_facts_and_the_files(cli, folder: Path) -> None:
    facts = json.loads(cli("report", folder, "--json")[1])
    assert facts["rows"][1]["quality"] == 0.95
    assert all(Path(file).exists() for file in facts["files"])


def test_a_folder_without_a_search_is_explained(cli, tmp_path: Path) -> None:
    code, _, err = cli("report", tmp_path)
    assert code == 1 and "l0compile search" in err


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A second search, on a machine that took other blocks."""
    found = Candidate(
        0, {}, "fitted", Latency(1.0, 0.9, 1.1), 0.9, chosen=True, layers={"up": ["16x1", 0.2]}, wanted_ms=1.1
    )
    place = tmp_path / "phone"
    place.mkdir()
    machine = {"machine": {"fingerprint": {"model": "Cortex-X4", "cores": "2"}}}
    SearchResult("another search", "Spearman", (), "dense", (found,), (), facts=machine).save(place / RESULT)
    return place


def test_several_searches_are_compared(cli, folder: Path, other: Path) -> None:
    code, out, _ = cli("report", folder, other)
    assert code == 0 and "4.00×" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("16×1"))
    assert row.split() == ["16×1", "–", "1", "layer"]
    for place in (folder, other):
        page = (place / "report.html").read_text()
        assert (
            "Block shapes by target" in page and "16×1" in page and f"{other} (" in page.replace("</th>", " ")
        )
        assert (place / "pareto.png").exists()


def test_json_of_several_has_each_by_its_folder(cli, folder: Path, other: Path) -> None:
    found = json.loads(cli("report", folder, other, "--json")[1])
    assert len(found["files"]) == 6 and set(found) == {"files", "results"}
    assert {place: item["title"] for place, item in found["results"].items()} == {
        str(folder): "a search",
        str(other): "another search",
    }
