"""The folder gets all three files, replaced whole."""

from pathlib import Path

import pytest

from l0compile.errors import StorageError
from l0compile.report.write import write_report
from l0compile.studies.result import SearchResult


def test_all_files_are_written(tmp_path: Path, report: SearchResult) -> None:
    out = tmp_path / "deep" / "out"
    paths = write_report(report, out)
    assert {path.name for path in paths} == {"report.html", "pareto.png", "regions.png"}
    assert set(out.iterdir()) == set(paths)


def test_writing_again_replaces_and_keeps_other_files(tmp_path: Path, report: SearchResult) -> None:
    (tmp_path / "study.sqlite").write_text("kept")
    (tmp_path / "report.html").write_text("old")
    write_report(report, tmp_path)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "study.sqlite").read_text() == "kept"


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, report: SearchResult) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match="could not be written"):
        write_report(report, tmp_path / "out")
