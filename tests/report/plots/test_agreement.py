"""The diagonal is where said and measured are the same, the band is where a budget is met, and errors are told."""

import dataclasses

import pytest

from l0compile.report.pages.fitted import fitted_table, origin, verdict
from l0compile.report.plots.agreement import budgets, predictions
from l0compile.studies.result import Candidate, Latency, SearchResult
from tests.report.picture import Picture, line, points


def inside(place: tuple[float, float], corners: list[tuple[float, float]]) -> bool:
    """Whether a convex polygon holds a place: it is on the same side of all edges."""
    edges = zip(corners, [*corners[1:], corners[0]], strict=True)
    sides = [(b[0] - a[0]) * (place[1] - a[1]) - (b[1] - a[1]) * (place[0] - a[0]) for a, b in edges]
    return all(side >= 0 for side in sides) or all(side <= 0 for side in sides)


def test_the_band_holds_what_met_its_budget(search: SearchResult) -> None:
    (picture,) = Picture.all_of(budgets(search))
    corners = points(picture.found("path", "band")[0])
    marks = picture.marks()
    assert [n for n in sorted(marks) if inside(marks[n][1:], corners)] == [4, 5]
    assert [verdict(item)[1] for item in search.candidates[4:]] == [
        "met",
        "met",
        "quicker than needed",
        "too slow",
    ]  # type: ignore[index]


@pytest.mark.parametrize(("ratio", "met"), [(0.895, False), (0.905, True), (1.025, True), (1.035, False)])
def test_the_edges_of_the_band(search: SearchResult, ratio: float, met: bool) -> None:
    ms = 4.0 * ratio
    moved = dataclasses.replace(search.candidates[4], latency=Latency(ms, ms, ms))
    changed = dataclasses.replace(search, candidates=(*search.candidates[:4], moved, *search.candidates[5:]))
    (picture,) = Picture.all_of(budgets(changed))
    assert inside(picture.marks()[4][1:], points(picture.found("path", "band")[0])) == met
    found = verdict(moved)
    assert found is not None and found[0] == pytest.approx(ratio) and (found[1] == "met") == met


def test_slower_than_predicted_is_above_the_line(search: SearchResult) -> None:
    slow = dataclasses.replace(search.candidates[7], predicted_ms=5.0)
    changed = dataclasses.replace(search, candidates=(*search.candidates[:7], slow))
    shown = predictions(changed)
    (picture,) = Picture.all_of(shown)
    x1, y1, x2, y2 = line(picture.found("line", "diagonal")[0])
    marks = picture.marks()
    above = {n: y < y1 + (y2 - y1) * (x - x1) / (x2 - x1) for n, (_, x, y) in marks.items()}
    assert above == {4: False, 5: False, 6: False, 7: True}
    # Errors are 2 % three times, and 0.5 of 5.5.
    assert shown is not None and "4 candidates were 2.0 % off in the median, 9.1 % at most" in shown


def test_one_prediction_has_no_median(search: SearchResult) -> None:
    one = dataclasses.replace(search, candidates=search.candidates[4:5])
    assert "The prediction of one candidate was 2.0 % off" in str(predictions(one))


def test_nothing_fitted_is_no_picture(search: SearchResult, report: SearchResult) -> None:
    trials = dataclasses.replace(search, candidates=search.candidates[:4])
    assert [draw(result) for draw in (budgets, predictions) for result in (trials, report)] == [None] * 4


def test_the_table_has_ratios_and_where_choices_come_from(search: SearchResult) -> None:
    assert [origin(search, item) for item in search.candidates] == [None] * 4 + [1, 2, 1, 1]
    text = str(fitted_table(search))
    for cell in ("0.980", "0.800", "1.058", "1.020", "3.842 to 4.038", "too slow", "#2", "0.9200"):
        assert f">{cell}</td>" in text, cell


def test_the_table_leaves_out_what_nothing_knows(report: SearchResult) -> None:
    text = str(fitted_table(report))
    assert "<th>measured, ms</th>" in text and "predicted" not in text and "wanted" not in text
    known = Candidate(9, {}, "fitted", Latency(1.0, 1.0, 1.0), 0.5, predicted_ms=1.1)
    more = str(fitted_table(dataclasses.replace(report, candidates=(*report.candidates, known))))
    assert "<th>predicted, ms</th>" in more and "wanted" not in more and ">–</td>" in more
