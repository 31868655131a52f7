"""Where points stand: the chosen one as in the final table, and in shares where the budget is one."""

import dataclasses

import pytest

from l0compile.measurement import Ratio
from l0compile.report.plots.figure import WIDE
from l0compile.report.plots.standings import standings
from l0compile.report.plots.tradeoff import draw_tradeoff, tradeoff
from l0compile.studies.result import Candidate, Latency, Row, SearchResult
from tests.report.drawn import Drawn


def candidate(number: int, load: float, minute: float, quality: float, **rest: bool) -> Candidate:
    """One that takes that load of the budget; ``minute``: how slow the machine was when it was measured."""
    ms = 5.0 * load * minute
    return Candidate(
        number, {}, "fitted", Latency(ms, ms, ms), quality, load=Ratio(load, 0.99 * load, 1.01 * load), **rest
    )


@pytest.fixture
def relative() -> SearchResult:
    """A budget of half of the reference's 10 ms; the chosen one was fitted in a slow minute, and then trained."""
    return SearchResult(
        "t", "accuracy",
        rows=(
            Row("other", Latency(20.0, 19.0, 21.0), 1.0, speedup=Ratio(0.5, 0.48, 0.52)),
            Row("reference", Latency(10.0, 9.9, 10.1), 1.0, speedup=Ratio(1.0, 1.0, 1.0)),
            Row("chosen", Latency(4.95, 4.9, 5.0), 0.97, False, speedup=Ratio(2.02, 2.0, 2.04)),
        ),
        reference="reference",
        candidates=(
            candidate(0, 0.98, 1.3, 0.96, front=True, chosen=True),
            candidate(1, 0.7, 1.0, 0.9, front=True),
            candidate(2, 1.2, 0.7, 0.965, front=True),
            candidate(3, 0.2, 1.0, 0.1),
        ),
        regions=(), budget_ms=5.0, budget_ratio=0.5,
    )  # fmt: skip


def test_a_budget_that_is_a_share_is_drawn_in_shares(relative: SearchResult) -> None:
    found = standings(relative)
    assert found.budget == 0.5 and found.words(0.5) == "0.5×" and "reference" in found.title
    at = {place.item.number: place.at for place in found.candidates}
    assert (at[1].value, at[1].low, at[1].high) == pytest.approx((0.35, 0.3465, 0.3535))
    assert at[2].value == pytest.approx(0.6)
    assert [(row.name, pytest.approx(span.value)) for row, span in found.engines] == [
        ("reference", 1.0),
        ("other", 2.0),
    ]


def test_the_chosen_one_stands_where_the_final_table_says(relative: SearchResult) -> None:
    (chosen,) = [place for place in standings(relative).candidates if place.item.chosen]
    assert (chosen.at.value, chosen.quality, chosen.final) == (pytest.approx(1 / 2.02), 0.97, True)
    drawn = Drawn.of(draw_tradeoff(relative, WIDE))
    # Within the budget, as the table says, however slow the minute was in which it was fitted.
    assert drawn.marks()[0][0] < drawn.line("budget").get_xdata()[0] == 0.5
    assert drawn.titles()[0] == "latency over that of reference, logarithmic, with 95 % intervals"
    shown = tradeoff(relative)
    assert shown is not None
    assert "the two measured side by side" in shown.caption and "as in the table above" in shown.caption


def test_what_the_trained_one_beats_is_not_on_the_line(relative: SearchResult) -> None:
    found = standings(relative)
    # The third one was on the front before the chosen one was trained: now it is slower and worse.
    assert [place.item.number for place in found.front] == [1, 0]


def test_without_loads_or_a_final_row_there_are_milliseconds(relative: SearchResult) -> None:
    old = tuple(dataclasses.replace(item, load=None) for item in relative.candidates)
    found = standings(dataclasses.replace(relative, candidates=old))
    assert found.budget == 5.0 and found.words(found.budget) == "5 ms"
    assert {p.item.number: p.at.value for p in found.candidates}[0] == 4.95
    bare = standings(dataclasses.replace(relative, rows=(), budget_ratio=None))
    # On the scale of the budget, which was set in another minute.
    assert {p.item.number: p.at.value for p in bare.candidates}[0] == pytest.approx(4.9)
    assert not any(place.final for place in bare.candidates) and bare.engines == ()
