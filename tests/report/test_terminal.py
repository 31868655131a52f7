"""The terminal tables hold every number, and names that look like style tags are shown as they are."""

import dataclasses
import io
import re

from rich.console import Console

from l0compile.report.terminal import asked_lines, comparison_table, targets_table
from l0compile.studies.result import Candidate, SearchResult


def shown(table: object) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_the_comparison_holds_every_row(report: SearchResult) -> None:
    lines = shown(comparison_table(report)).splitlines()
    chosen = next(line for line in lines if "chosen" in line)
    assert chosen.split() == [
        "l0compile,",
        "chosen",
        "3.100",
        "3.050",
        "to",
        "3.200",
        "3.42×",
        "[3.38,",
        "3.50]",
        "0.9310",
    ]
    assert "openvino is not installed" in next(line for line in lines if "OpenVINO" in line)


def test_precisions_are_a_column_where_they_differ(report: SearchResult) -> None:
    assert "precision" not in shown(comparison_table(report))
    rows = tuple(
        row if row.dense else dataclasses.replace(row, precision="int8, bfloat16") for row in report.rows
    )
    lines = shown(comparison_table(dataclasses.replace(report, rows=rows))).splitlines()
    assert any(line.split()[-1:] == ["precision"] for line in lines)
    assert next(line for line in lines if "chosen" in line).strip().endswith("int8, bfloat16")


def test_names_that_look_like_tags_are_shown(report: SearchResult) -> None:
    rows = (dataclasses.replace(report.rows[0], name="layers[red]0[/]"),)
    assert "layers[red]0[/]" in shown(comparison_table(dataclasses.replace(report, rows=rows, title="[b]")))


def test_what_was_asked_has_a_line_each(report: SearchResult) -> None:
    met, missed = asked_lines(report)
    assert shown(met).strip() == (
        "met: latency of at most 4 ms: 0.775 of the budget [0.763, 0.8], faster than needed"
    )
    assert shown(missed).strip() == "MISSED: at most 30 MB on disk: 31.2 MB"
    assert missed.startswith("[bold]") and not met.startswith("[bold]")


def test_targets_are_side_by_side(search: SearchResult) -> None:
    facts = {"machine": {"fingerprint": {"model": "[red]Phone", "cores": "4"}}}
    other = dataclasses.replace(search, facts=facts, candidates=(small(search),))
    text = shown(targets_table({"desk": search, "[b]": other}))
    assert "desk: EPYC, x86-64-v4, 2 cores" in text and "[b]: [red]Phone, 4 cores" in text
    found = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert ["dense", "2 layers, 54 %", "–"] in found
    assert ["4×1", "2 layers, 43 %", "–"] in found
    assert ["8×1", "1 layer, 2.7 %", "1 layer, 100 %"] in found
    assert ["none left", "1 layer, 0 %", "–"] in found


def small(search: SearchResult) -> Candidate:
    """The chosen candidate with one layer."""
    return dataclasses.replace(search.candidates[4], layers={"bert.layer.0.up": ["8x1", 0.5]})
