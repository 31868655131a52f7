"""The region table: a line for each, readable words, and odd names do no harm."""

import dataclasses
import struct

import pytest

from l0compile.report.regions import plot_regions
from l0compile.runtime.account.text import format_text, shape_text
from l0compile.studies.result import SearchResult


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_the_region_table_grows_with_the_regions(report: SearchResult) -> None:
    one, all_of_them = (size(plot_regions(report.regions[:count])) for count in (1, len(report.regions)))
    assert all_of_them[0] == one[0] == 13 * 150
    assert all_of_them[1] - one[1] == pytest.approx(0.26 * 150 * (len(report.regions) - 1), abs=2)


def test_a_long_reason_has_lines_and_is_not_cut(report: SearchResult) -> None:
    long = dataclasses.replace(report.regions[1], reason="because of this and of that " * 20)
    (_, one), (_, many) = (size(plot_regions((region,))) for region in (report.regions[1], long))
    assert many - one == pytest.approx(0.26 * 150 * 7, abs=2)
    other = dataclasses.replace(long, reason=long.reason + "but")
    assert plot_regions((other,)) != plot_regions((long,))


def test_every_column_shows(report: SearchResult) -> None:
    region = report.regions[1]
    before = plot_regions((region,))
    for change in (
        {"name": "x"},
        {"density": 0.9},
        {"block": (4, 4)},
        {"reason": "x"},
        {"shape_after": (8, 384)},
    ):
        assert plot_regions((dataclasses.replace(region, **change),)) != before  # type: ignore[arg-type]


def test_no_regions_is_a_picture_all_the_same() -> None:
    assert size(plot_regions(()))[1] > 50


@pytest.mark.parametrize("name", ["$x_{", "a\nb", "\\frac", "名前", "x" * 300, ""])
def test_odd_names_do_not_break_the_drawing(report: SearchResult, name: str) -> None:
    size(plot_regions((dataclasses.replace(report.regions[0], name=name, reason=name),)))


def test_shapes_read_as_a_change(report: SearchResult) -> None:
    texts = {shape_text(region) for region in report.regions}
    assert texts == {"384×384 → 320×384", "1536×384", "384×1536", "384×384 → none"}
    assert {format_text(region) for region in report.regions} == {"compact", "bsr 4×1", "dense", "dropped"}
