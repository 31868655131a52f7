"""The stored facts come back as they were, and what does not fit is refused."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from l0compile.errors import DataError
from l0compile.report import Report, Row, read_report


def test_a_report_survives_json(report: Report) -> None:
    assert Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report


def test_numbers_that_json_lacks_become_null(report: Report) -> None:
    odd = dataclasses.replace(report, facts={"a": {"b": math.inf, "c": [math.nan, 1.5]}})
    assert json.loads(json.dumps(odd.to_dict(), allow_nan=False))["facts"] == {
        "a": {"b": None, "c": [None, 1.5]}
    }


def test_speedup_is_relative_to_the_reference(report: Report) -> None:
    by_name = {row.name: report.speedup(row) for row in report.rows}
    assert by_name["ONNX Runtime, dense"] == 1.0
    assert by_name["l0compile, chosen"] == pytest.approx(10.6 / 3.1)
    assert by_name["OpenVINO, dense"] is None
    missing = dataclasses.replace(report, reference="TensorRT")
    assert all(missing.speedup(row) is None for row in missing.rows)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"name": 1}]}'])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError):
        read_report(tmp_path / "report.json")


def test_a_folder_without_a_result_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="l0compile search"):
        read_report(tmp_path / "report.json")


def test_an_unknown_key_is_named(report: Report) -> None:
    with pytest.raises(DataError, match="colour"):
        Report.from_dict({**report.to_dict(), "colour": 1})
    assert Row("a", None, None).dense
