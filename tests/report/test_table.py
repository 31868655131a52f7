"""The terminal tables hold every number, and names that look like style tags are shown as they are."""

import dataclasses
import io

from rich.console import Console

from l0compile.report import comparison_table
from l0compile.result import SearchResult


def shown(table: object) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_the_comparison_holds_every_row(report: SearchResult) -> None:
    lines = shown(comparison_table(report)).splitlines()
    chosen = next(line for line in lines if "chosen" in line)
    assert chosen.split() == ["l0compile,", "chosen", "3.100", "3.050", "to", "3.200", "3.42×", "0.9310"]
    assert "openvino is not installed" in next(line for line in lines if "OpenVINO" in line)


def test_names_that_look_like_tags_are_shown(report: SearchResult) -> None:
    rows = (dataclasses.replace(report.rows[0], name="layers[red]0[/]"),)
    assert "layers[red]0[/]" in shown(comparison_table(dataclasses.replace(report, rows=rows, title="[b]")))
