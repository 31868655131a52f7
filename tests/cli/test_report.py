"""``l0compile report``: the same page again from the stored facts."""

import json
from pathlib import Path

import pytest

from l0compile.report import write_report
from l0compile.result import RESULT, Candidate, Latency, Row, SearchResult


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = (
        Row("dense", Latency(4.0, 3.9, 4.1), 1.0),
        Row("chosen", Latency(1.0, 0.9, 1.1), 0.95, dense=False),
    )
    candidates = (
        Candidate(0, {"density": 0.2}, "trained", Latency(1.0, 0.9, 1.1), 0.95, front=True, chosen=True),
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
