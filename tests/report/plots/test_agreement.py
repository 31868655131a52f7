"""The diagonal is where said and measured are the same, the band is where a budget is met, and errors are told."""

import dataclasses

import pytest
from matplotlib.collections import PolyCollection

from l0compile.report.candidates import verdict
from l0compile.report.plots.agreement import budgets, predictions
from l0compile.report.plots.figure import HALF, Plot
from l0compile.studies.result import Latency, SearchResult
from tests.report.drawn import Drawn


def drawn(plot: Plot | None) -> Drawn:
    assert plot is not None and plot.sizes == (HALF,)
    return Drawn.of(plot.draw(HALF))


def in_band(found: Drawn, place: tuple[float, float]) -> bool:
    (band,) = (item for item in found.axes.collections if isinstance(item, PolyCollection))
    return bool(band.get_paths()[0].contains_point(place))


def test_the_band_holds_what_met_its_budget(search: SearchResult) -> None:
    found = drawn(budgets(search))
    assert found.titles() == ("wanted, ms", "measured, ms")
    assert found.marks() == {4: (4.0, 3.92), 5: (4.0, 3.96), 6: (3.0, 2.4), 7: (5.2, 5.5)}
    assert [n for n, place in sorted(found.marks().items()) if in_band(found, place)] == [4, 5]
    words = [told[1] for item in search.candidates[4:] if (told := verdict(item))]
    assert words == ["met", "met", "faster than needed", "too slow"]


@pytest.mark.parametrize(("ratio", "met"), [(0.895, False), (0.905, True), (1.025, True), (1.035, False)])
def test_the_edges_of_the_band(search: SearchResult, ratio: float, met: bool) -> None:
    ms = 4.0 * ratio
    moved = dataclasses.replace(search.candidates[4], latency=Latency(ms, ms, ms))
    changed = dataclasses.replace(search, candidates=(*search.candidates[:4], moved, *search.candidates[5:]))
    found = drawn(budgets(changed))
    assert in_band(found, found.marks()[4]) == met
    told = verdict(moved)
    assert told is not None and told[0] == pytest.approx(ratio) and (told[1] == "met") == met


def test_slower_than_predicted_is_above_the_diagonal(search: SearchResult) -> None:
    slow = dataclasses.replace(search.candidates[7], predicted_ms=5.0)
    shown = predictions(dataclasses.replace(search, candidates=(*search.candidates[:7], slow)))
    found = drawn(shown)
    assert found.titles() == ("predicted, ms", "measured, ms")
    diagonal = found.line("diagonal")
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == list(found.axes.get_xlim())
    assert {n: y > x for n, (x, y) in found.marks().items()} == {4: False, 5: False, 6: False, 7: True}
    # Errors are 2 % three times, and 0.5 of 5.5.
    assert shown is not None and "4 candidates were 2.0 % off in the median, 9.1 % at most" in shown.caption


def test_intervals_and_the_chosen_one_show(search: SearchResult) -> None:
    found = drawn(predictions(search))
    assert found.interval(6) == pytest.approx((0.98 * 2.4, 1.03 * 2.4))
    assert found.shapes() == {4: "D", 5: "o", 6: "o", 7: "o"}
    assert found.words() == ["#4", "#5", "#6", "#7"]


def test_one_prediction_has_no_median(search: SearchResult) -> None:
    one = predictions(dataclasses.replace(search, candidates=search.candidates[4:5]))
    assert one is not None and "The prediction of one candidate was 2.0 % off" in one.caption


def test_nothing_fitted_is_no_plot(search: SearchResult, report: SearchResult) -> None:
    trials = dataclasses.replace(search, candidates=search.candidates[:4])
    assert [draw(result) for draw in (budgets, predictions) for result in (trials, report)] == [None] * 4
