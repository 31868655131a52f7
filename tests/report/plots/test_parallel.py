"""Each trial is a line through its values; axes of weights are logarithmic; the good ones have their colour."""

import dataclasses
import re

import pytest

from l0compile.report.plots.colours import quality_colour
from l0compile.report.plots.parallel import parallel
from l0compile.studies.result import SearchResult
from tests.report.picture import Picture, points


def lines(picture: Picture) -> dict[int, tuple[list[tuple[float, float]], str, bool]]:
    """Number of a trial -> its corners, its colour, and whether it is thick."""
    found = {}
    for path in picture.found("path", "trial"):
        number = int(path[0].text.split(",")[0].removeprefix("#"))  # type: ignore[union-attr]
        colour = re.findall(r"#\w+", path.attrib["style"])[0]
        found[number] = (points(path), colour, "thick" in path.attrib["class"])
    return found


@pytest.mark.parametrize("place", [0, 1])
def test_a_line_goes_through_the_values_of_its_trial(search: SearchResult, place: int) -> None:
    picture = Picture.all_of(parallel(search))[place]
    found = lines(picture)
    assert set(found) == {0, 1, 2} and all(len(corners) == 3 for corners, _, _ in found.values())
    # The wide drawing has upright axes on which more is further up, the narrow one lying ones.
    along = (lambda corner: -corner[1]) if place == 0 else (lambda corner: corner[0])
    for axis, order in ((0, [1, 0, 2]), (1, [1, 0, 2]), (2, [0, 2, 1])):
        assert sorted(found, key=lambda n: along(found[n][0][axis])) == order
    low, middle, high = (along(found[n][0][0]) for n in (1, 0, 2))
    # 0.25, 1 and 4 are two equal factors.
    assert middle - low == pytest.approx(high - middle, abs=0.02)


def test_colour_is_quality_and_the_fitted_are_thick(search: SearchResult) -> None:
    found = lines(Picture.all_of(parallel(search))[0])
    assert found[0][1] == quality_colour(0.0) and found[1][1] == quality_colour(1.0)
    assert found[2][1] == quality_colour(0.5)
    assert {n: thick for n, (_, _, thick) in found.items()} == {0: False, 1: True, 2: True}


def test_axes_have_names_and_ranges(search: SearchResult) -> None:
    wide, narrow = Picture.all_of(parallel(search))
    assert {
        "weight",
        "up",
        "tilt",
        "down",
        "quality",
        "0.25",
        "4",
        "-1.5",
        "1.5",
        "0.78",
        "0.9",
        "#1",
        "#2",
    } == set(wide.words()) - {""}
    assert {"weight.up", "tilt.down", "quality"} < set(narrow.words())


def test_a_value_that_never_changes_is_drawn_all_the_same(search: SearchResult) -> None:
    items = tuple(
        dataclasses.replace(item, choices={"weight.up": 1.0, "density.heads": 0.0})
        for item in search.candidates
    )
    found = lines(Picture.all_of(parallel(dataclasses.replace(search, candidates=items)))[0])
    assert len({corners[0] for corners, _, _ in found.values()}) == 1


def test_fewer_than_two_trials_are_no_picture(search: SearchResult, report: SearchResult) -> None:
    assert parallel(dataclasses.replace(search, candidates=search.candidates[1:2])) is None
    assert parallel(report) is None
