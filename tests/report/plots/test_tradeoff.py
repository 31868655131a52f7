"""Marks are where latency and quality put them, the budget is a line between them, and trials stay at the edge."""

import dataclasses

import pytest

from l0compile.report.plots.tradeoff import tradeoff
from l0compile.studies.result import SearchResult
from tests.report.picture import Picture, line, points


def test_marks_are_in_order_of_latency_and_quality(search: SearchResult) -> None:
    pictures = Picture.all_of(tradeoff(search))
    assert [picture.size[0] for picture in pictures] == [880, 360]
    for picture in pictures:
        marks = picture.marks()
        assert sorted(marks, key=lambda n: marks[n][1]) == [6, 4, 5, 7]
        assert sorted(marks, key=lambda n: -marks[n][2]) == [6, 5, 4, 7]
        assert {n: shape for n, (shape, _, _) in marks.items()} == {
            4: "polygon", 5: "circle", 6: "circle", 7: "circle",
        }  # fmt: skip
        width, height = picture.size
        assert all(0 < x < width and 0 < y < height for _, x, y in marks.values())


def test_equal_factors_are_equal_distances(search: SearchResult) -> None:
    picture = Picture.all_of(tradeoff(search))[0]
    (budget,) = (line(item) for item in picture.found("line", "budget"))
    (engine,) = (line(item) for item in picture.found("line", "engine"))
    marks = picture.marks()
    # 2.4 ms and 4 ms are as far apart as 10.6 ms and 6.36 ms: the chosen one, at 3.92, is just inside the budget.
    per_factor = (engine[0] - budget[0]) / 0.97456
    assert (budget[0] - marks[6][1]) / per_factor == pytest.approx(0.51083, abs=1e-3)
    assert 0 < budget[0] - marks[4][1] < 0.03 * per_factor


def test_intervals_reach_from_low_to_high(search: SearchResult) -> None:
    picture = Picture.all_of(tradeoff(search))[0]
    place = picture.marks()[7]
    bars = [line(item) for item in picture.found("line", "whisker")]
    (bar,) = [bar for bar in bars if bar[1] == bar[3] == pytest.approx(place[2], abs=0.01)]
    assert bar[0] < place[1] < bar[2] and bar[2] - place[1] > place[1] - bar[0]


def test_the_front_steps_through_its_members_only(search: SearchResult) -> None:
    picture = Picture.all_of(tradeoff(search))[0]
    marks = picture.marks()
    corners = points(picture.found("path", "front")[0])
    assert [corners[index] for index in (0, 2, 4)] == [
        (pytest.approx(marks[n][1], abs=0.02), pytest.approx(marks[n][2], abs=0.02)) for n in (6, 4, 7)
    ]
    assert corners[1] == (corners[2][0], corners[0][1])


def test_trials_are_no_points_but_marks_on_the_quality_axis(search: SearchResult) -> None:
    shown = tradeoff(search)
    picture = Picture.all_of(shown)[0]
    # Qualities 0.9 and 0.84 are inside the range of what was measured, 0.78 is not.
    rugs = [line(item) for item in picture.found("line", "rug")]
    marks = picture.marks()
    assert len(rugs) == 2 and all(y1 == y2 for _, y1, _, y2 in rugs)
    assert all(x < min(place for _, place, _ in marks.values()) for _, _, x, _ in rugs)
    per_quality = (marks[6][2] - marks[7][2]) / 0.1
    assert min(y for _, y, _, _ in rugs) == pytest.approx(marks[7][2] + 0.05 * per_quality, abs=0.02)
    assert "3 trials, of 0.78 to 0.9, were evaluated without training" in shown
    assert "2 of their qualities are short lines" in shown


def test_trials_that_were_measured_are_points_and_no_marks(report: SearchResult) -> None:
    shown = tradeoff(report)
    picture = Picture.all_of(shown)[0]
    assert set(picture.marks()) == {0, 1, 2, 3, 4} and not picture.found("line", "rug")
    assert "without training" not in shown and "other (ring)" in shown


def test_the_legend_names_what_is_there(search: SearchResult) -> None:
    unchosen = tuple(dataclasses.replace(item, chosen=False) for item in search.candidates)
    assert "chosen (diamond)" in tradeoff(search)
    assert "chosen (diamond)" not in tradeoff(dataclasses.replace(search, candidates=unchosen))


def test_without_budget_engines_or_points(search: SearchResult) -> None:
    bare = tradeoff(dataclasses.replace(search, budget_ms=None, rows=()))
    picture = Picture.all_of(bare)[0]
    assert len(picture.marks()) == 4 and not picture.found("line", "budget") + picture.found("line", "engine")
    empty = dataclasses.replace(search, candidates=search.candidates[:4])
    assert tradeoff(empty) == "<p>No candidate was both measured and trained.</p>"
