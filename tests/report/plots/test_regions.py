"""The region table: a row for each, readable words, and odd names do no harm."""

import dataclasses

import pytest
from matplotlib.figure import Figure

from l0compile.report.plots.colours import FORMAT_COLOURS
from l0compile.report.plots.export import png
from l0compile.report.plots.regions import draw_regions
from l0compile.runtime.account.text import format_text, shape_text
from l0compile.studies.result import SearchResult
from tests.report.drawn import Drawn


def height(figure: Figure) -> float:
    assert figure.get_figwidth() == 13
    return float(figure.get_figheight())


def test_the_table_grows_with_the_regions(report: SearchResult) -> None:
    one, all_of_them = (height(draw_regions(report.regions[:count])) for count in (1, len(report.regions)))
    assert all_of_them - one == pytest.approx(0.26 * (len(report.regions) - 1), abs=0.02)


def test_a_long_reason_has_lines_and_is_not_cut(report: SearchResult) -> None:
    reason = "because of this and of that " * 20
    figure = draw_regions((dataclasses.replace(report.regions[1], reason=reason),))
    assert height(figure) - height(draw_regions(report.regions[1:2])) == pytest.approx(0.26 * 7, abs=0.02)
    assert reason.strip() in " ".join(Drawn.of(figure).words())


def test_every_column_shows(report: SearchResult) -> None:
    region = report.regions[1]
    drawn = Drawn.of(draw_regions((region,)))
    assert drawn.words() == [
        "region", "shape", "density", "format", "why",
        region.name, "1536×384", "20 %", "bsr 4×1", "density 0.2",
    ]  # fmt: skip
    whole, part = (bars[0] for bars in drawn.axes.containers)
    assert part.get_width() / whole.get_width() == pytest.approx(0.2)
    red, green, blue, _ = part.get_facecolor()
    assert "#" + "".join(f"{round(255 * c):02x}" for c in (red, green, blue)) == FORMAT_COLOURS["bsr"]


def test_no_regions_is_a_picture_all_the_same() -> None:
    assert Drawn.of(draw_regions(())).words()[-1] == "no regions were recorded"


@pytest.mark.parametrize("name", ["$x_{", "a\nb", "\\frac", "名前", "x" * 300, ""])
def test_odd_names_do_not_break_the_drawing(report: SearchResult, name: str) -> None:
    figure = draw_regions((dataclasses.replace(report.regions[0], name=name, reason=name),))
    assert png(figure).startswith(b"\x89PNG")


def test_shapes_read_as_a_change(report: SearchResult) -> None:
    texts = {shape_text(region) for region in report.regions}
    assert texts == {"384×384 → 320×384", "1536×384", "384×1536", "384×384 → none"}
    assert {format_text(region) for region in report.regions} == {"compact", "bsr 4×1", "dense", "dropped"}
