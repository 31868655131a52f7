"""Marks are where latency and quality put them, the budget is a line between them, and trials stay at the edge."""

import dataclasses
from itertools import pairwise

import pytest

from l0compile.report.plots.figure import NARROW, WIDE, PlotSize
from l0compile.report.plots.tradeoff import draw_tradeoff, tradeoff
from l0compile.studies.result import SearchResult
from tests.report.drawn import Drawn

SIZES = pytest.mark.parametrize("size", [WIDE, NARROW])


@SIZES
def test_marks_are_at_latency_and_quality(search: SearchResult, size: PlotSize) -> None:
    drawn = Drawn.of(draw_tradeoff(search, size))
    # The chosen one stands where the final row says: 3.9 ms, 0.93; the others where they were measured.
    assert drawn.marks() == {6: (2.4, 0.85), 4: (3.9, 0.93), 5: (3.96, 0.91), 7: (5.5, 0.95)}
    assert drawn.shapes() == {4: "D", 5: "ring", 6: "o", 7: "o"}
    assert all(drawn.inside(place) for place in drawn.marks().values())
    assert {"#4", "#5", "#6", "#7"} < set(drawn.words())


def test_axes_are_named_and_latency_is_logarithmic(search: SearchResult) -> None:
    drawn = Drawn.of(draw_tradeoff(search, WIDE))
    assert drawn.titles() == ("latency in ms, logarithmic, with 95 % intervals", "Spearman")
    assert drawn.axes.get_xscale() == "log" and drawn.axes.get_yscale() == "linear"
    assert [label.get_text() for label in drawn.axes.get_xticklabels()] == ["3", "4", "5", "7", "10"]


def test_intervals_reach_from_low_to_high(search: SearchResult, report: SearchResult) -> None:
    drawn = Drawn.of(draw_tradeoff(search, WIDE))
    assert drawn.interval(7) == pytest.approx((0.98 * 5.5, 1.03 * 5.5))
    assert drawn.interval(4) == pytest.approx((3.8, 4.0))
    first, *others = report.candidates
    # Rounding can leave a median outside its interval.
    odd = dataclasses.replace(first, latency=dataclasses.replace(first.latency, low_ms=2.2))
    drawn = Drawn.of(draw_tradeoff(dataclasses.replace(report, candidates=(odd, *others)), WIDE))
    assert drawn.interval(0) == pytest.approx((2.1, 1.06 * 2.1))


def test_the_front_steps_through_its_members_only(search: SearchResult) -> None:
    drawn = Drawn.of(draw_tradeoff(search, WIDE))
    line = drawn.line("front")
    assert line.get_drawstyle() == "steps-post"
    assert line.get_xydata().tolist() == [[2.4, 0.85], [3.9, 0.93], [5.5, 0.95]]
    first, *others = search.candidates[4:]
    fewer = dataclasses.replace(
        search, candidates=(first, dataclasses.replace(others[1], front=False), others[2])
    )
    assert Drawn.of(draw_tradeoff(fewer, WIDE)).line("front").get_xydata().tolist() == [
        [3.9, 0.93],
        [5.5, 0.95],
    ]


def test_budget_and_engines_are_upright_lines_with_their_names(search: SearchResult) -> None:
    wide, narrow = (Drawn.of(draw_tradeoff(search, size)) for size in (WIDE, NARROW))
    for drawn in (wide, narrow):
        assert set(drawn.line("budget").get_xdata()) == {4.0}
        assert set(drawn.line("ONNX Runtime, dense").get_xdata()) == {10.6}
        assert "budget 4 ms" in drawn.words()
    assert "ONNX Runtime, dense 10.6 ms, quality 1" in wide.words()
    assert "ONNX Runtime, dense" in narrow.words()
    (band,) = wide.axes.patches
    assert band.get_x() + band.get_width() == pytest.approx(4.0)  # type: ignore[attr-defined]


def test_what_was_not_measured_is_left_out(report: SearchResult) -> None:
    drawn = Drawn.of(draw_tradeoff(report, WIDE))
    # Candidate 5 has no quality, 6 failed, and OpenVINO did not run.
    assert set(drawn.marks()) == {0, 1, 2, 3, 4}
    assert "OpenVINO, dense" not in drawn.labels() and "PyTorch, dense" in drawn.labels()


def test_trials_are_no_points_but_marks_on_the_quality_axis(search: SearchResult) -> None:
    drawn = Drawn.of(draw_tradeoff(search, WIDE))
    # Qualities 0.9 and 0.84 are inside the range of what was measured, 0.78 is not.
    assert [label for label in drawn.labels() if label.startswith("trial")] == ["trial 1", "trial 2"]
    assert set(drawn.line("trial 1").get_ydata()) == {0.9}
    assert max(drawn.line("trial 1").get_xdata()) < 0.05  # a share of the axis
    shown = tradeoff(search)
    assert (
        shown is not None
        and "3 trials, of quality 0.78 to 0.9, were evaluated without training" in shown.caption
    )


def test_trials_that_were_measured_are_points_and_no_marks(report: SearchResult) -> None:
    drawn = Drawn.of(draw_tradeoff(report, WIDE))
    assert not [label for label in drawn.labels() if label.startswith("trial")]
    assert "without training" not in tradeoff(report).caption  # type: ignore[union-attr]


def test_the_legend_names_what_is_there(search: SearchResult) -> None:
    assert Drawn.of(draw_tradeoff(search, WIDE)).legend() == ["chosen", "Pareto front", "other"]
    unchosen = tuple(dataclasses.replace(item, chosen=False) for item in search.candidates)
    changed = dataclasses.replace(search, candidates=unchosen)
    assert Drawn.of(draw_tradeoff(changed, WIDE)).legend() == ["Pareto front", "other"]


def test_labels_do_not_overlap(search: SearchResult) -> None:
    close = tuple(dataclasses.replace(item, quality=0.9) for item in search.candidates[4:])
    drawn = Drawn.of(draw_tradeoff(dataclasses.replace(search, candidates=close, rows=()), WIDE))
    labels = [text for text in drawn.axes.texts if text.get_text().startswith("#")]
    heights = sorted(text.get_window_extent().y0 for text in labels)
    assert len(labels) == 4 and all(b - a > 13 for a, b in pairwise(heights))


def test_the_label_tells_what_can_be_seen(search: SearchResult) -> None:
    shown = tradeoff(search)
    assert shown is not None
    assert "4 measured candidates, with a budget of 4 ms: 3 on the Pareto front" in shown.label
    assert "the chosen one takes 3.9 ms at 0.93" in shown.label


def test_without_budget_engines_or_points(search: SearchResult) -> None:
    bare = Drawn.of(draw_tradeoff(dataclasses.replace(search, budget_ms=None, rows=()), WIDE))
    assert len(bare.marks()) == 4 and not {"budget", "ONNX Runtime, dense"} & set(bare.labels())
    empty = dataclasses.replace(search, candidates=search.candidates[:4], rows=(), budget_ms=None)
    assert tradeoff(empty) is None
    assert Drawn.of(draw_tradeoff(empty, WIDE)).words() == ["no candidate was both measured and trained"]
