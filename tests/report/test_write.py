"""The folder gets all four files, replaced whole, and can be read back."""

from pathlib import Path

import pytest

from l0compile.errors import ArtifactError
from l0compile.report import Report, read_report, write_report


def test_all_files_are_written_and_read_back(tmp_path: Path, report: Report) -> None:
    out = tmp_path / "deep" / "out"
    paths = write_report(report, out)
    assert {path.name for path in paths} == {"report.html", "pareto.png", "regions.png", "report.json"}
    assert set(out.iterdir()) == set(paths)
    assert read_report(out / "report.json") == report


def test_writing_again_replaces_and_keeps_other_files(tmp_path: Path, report: Report) -> None:
    (tmp_path / "study.db").write_text("kept")
    (tmp_path / "report.html").write_text("old")
    write_report(report, tmp_path)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "study.db").read_text() == "kept"


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, report: Report) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ArtifactError, match="could not be written"):
        write_report(report, tmp_path / "out")
