"""Each trial is a line through its values; axes of weights are logarithmic; the good ones have their colour."""

import dataclasses

import pytest
from matplotlib.lines import Line2D

from l0compile.report.plots.colours import quality_colour
from l0compile.report.plots.parallel import parallel
from l0compile.studies.result import SearchResult
from tests.report.drawn import Drawn


def drawn(result: SearchResult, place: int) -> Drawn:
    plot = parallel(result)
    assert plot is not None
    return Drawn.of(plot.draw(plot.sizes[place]))


def lines(found: Drawn) -> dict[int, Line2D]:
    """Number of a trial -> its line."""
    return {int(str(x.get_label())[1:]): x for x in found.axes.lines if str(x.get_label()).startswith("#")}


@pytest.mark.parametrize("place", [0, 1])
def test_a_line_goes_through_the_values_of_its_trial(search: SearchResult, place: int) -> None:
    found = lines(drawn(search, place))
    # Across upright axes in the wide plot, down lying ones in the narrow plot.
    ends = {n: list(x.get_xdata() if place else x.get_ydata()) for n, x in found.items()}
    # 0.25, 1 and 4 are two equal factors; -1.5, 0 and 1.5 two equal steps; the last axis is the quality.
    assert ends == {
        0: [pytest.approx(0.5), 0.5, 0.0],
        1: [0.0, 0.0, 1.0],
        2: [1.0, 1.0, pytest.approx(0.5)],
    }
    assert all(list(x.get_ydata() if place else x.get_xdata()) == [0, 1, 2] for x in found.values())


def test_colour_is_quality_and_the_fitted_are_thick(search: SearchResult) -> None:
    found = drawn(search, 0)
    assert {n: x.get_color() for n, x in lines(found).items()} == {
        0: quality_colour(0.0), 1: quality_colour(1.0), 2: quality_colour(0.5),
    }  # fmt: skip
    assert {n: x.get_linewidth() > 2 for n, x in lines(found).items()} == {0: False, 1: True, 2: True}
    assert found.legend() == ["0.78, the worst quality", "0.9, the best"]


def test_axes_have_names_and_ranges(search: SearchResult) -> None:
    ends = {"0.25", "4", "-1.5", "1.5", "0.78", "0.9", "#1", "#2"}
    assert set(drawn(search, 0).words()) == {"weight", "up", "tilt", "down", "quality"} | ends
    assert set(drawn(search, 1).words()) == {"weight.up", "tilt.down", "quality"} | ends


def test_the_label_names_the_best_trial(search: SearchResult) -> None:
    plot = parallel(search)
    assert plot is not None and "The best one is #1: weight.up 0.25, tilt.down -1.5." in plot.label


def test_a_value_that_never_changes_is_drawn_all_the_same(search: SearchResult) -> None:
    items = tuple(
        dataclasses.replace(item, choices={"weight.up": 1.0, "density.heads": 0.0})
        for item in search.candidates
    )
    found = lines(drawn(dataclasses.replace(search, candidates=items), 0))
    assert {tuple(x.get_ydata())[:2] for x in found.values()} == {(0.5, 0.5)}


def test_fewer_than_two_trials_are_no_plot(search: SearchResult, report: SearchResult) -> None:
    assert parallel(dataclasses.replace(search, candidates=search.candidates[1:2])) is None
    assert parallel(report) is None
