"""Measured latency over the wanted and over the predicted one: on the diagonal the two are the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from l0compile.report.candidates import note, verdict
from l0compile.report.plots.colours import CHOSEN, FRONT, OTHER, WITHIN_BUDGET
from l0compile.report.plots.export import set_tip, settle
from l0compile.report.plots.figure import HALF, Plot, PlotSize, canvas, label_points, set_range, set_titles
from l0compile.studies.result import BAND, Candidate, Latency, SearchResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Expectation:
    """A candidate, the latency in ms that was wanted or predicted of it, and its measured latency."""

    item: Candidate
    expected_ms: float
    latency: Latency


def budgets(result: SearchResult) -> Plot | None:
    """Return measured over wanted latency, with the band in which a budget is met; None without both."""
    found = [Expectation(c, c.wanted_ms, c.latency) for c in result.candidates if c.wanted_ms and c.latency]
    if not found or result.predicted:
        return None
    verdicts = [told for one in found if (told := verdict(one.item))]
    met = sum(words == "met" for _, words in verdicts)
    low, high = min(verdicts)[0], max(verdicts)[0]
    said = f"{met} of {len(found)} candidates met their budget, with {low:.3f} to {high:.3f} of it"
    below, above = 100 - 100 * BAND[0], 100 * BAND[1] - 100
    caption = (
        f"{said}. A budget is met in the shaded band, from {below:.0f} % below to {above:.0f} % above. A budget"
        " relative to an engine is checked beside that engine, timed in the same minute; these milliseconds also hold"
        " how the speed of the machine drifts from minute to minute."
    )
    label = f"Measured over wanted latency: {said}."
    return Plot(lambda size: draw_agreement(found, "wanted, ms", size, BAND), label, caption, (HALF,))


def predictions(result: SearchResult) -> Plot | None:
    """Return measured over predicted latency; None without predictions."""
    found = [
        Expectation(c, c.predicted_ms, c.latency) for c in result.candidates if c.predicted_ms and c.latency
    ]
    if not found or result.predicted:
        return None
    said = error_in_words(found)
    caption = f"{said}. Above the line: slower than predicted. Each prediction was made before compiling."
    label = f"Measured over predicted latency: {said}."
    return Plot(lambda size: draw_agreement(found, "predicted, ms", size), label, caption, (HALF,))


def error_in_words(found: Sequence[Expectation]) -> str:
    """Return how far predictions were off, as a share of the measured latency."""
    errors = [abs(one.expected_ms / one.latency.median_ms - 1.0) for one in found]
    if len(errors) == 1:
        return f"The prediction of one candidate was {100 * errors[0]:.1f} % off"
    worst = f"{100 * max(errors):.1f} % at most"
    return f"Predictions of {len(errors)} candidates were {100 * median(errors):.1f} % off in the median, {worst}"


def draw_agreement(
    found: Sequence[Expectation], title: str, size: PlotSize, band: tuple[float, float] | None = None
) -> "Figure":
    """Draw measured latency over the expected one.

    Args:
        found: At least one.
        title: What the expected latency is.
        size: Of the plot.
        band: Shares of the expected latency between which a shaded band lies.
    """
    figure, axes = canvas(size)
    set_titles(axes, title, "measured, ms")
    times = [one.expected_ms for one in found]
    times += [ms for one in found for ms in (one.latency.median_ms, one.latency.low_ms, one.latency.high_ms)]
    for which in "xy":
        set_range(axes, which, times, 6, log=True, margin=0.15)
    ends = axes.get_xlim()
    if band is not None:
        low, high = ([share * ms for ms in ends] for share in band)
        axes.fill_between(ends, low, high, color=WITHIN_BUDGET, linewidth=0, zorder=0, label="band")
        axes.set_ylim(ends)
    axes.plot(ends, ends, color=OTHER, linestyle=(0, (5, 4)), linewidth=1, label="diagonal")
    colours = [CHOSEN if one.item.chosen else FRONT for one in found]
    for one, colour in zip(found, colours, strict=True):
        ms = one.latency.median_ms
        reach = [[max(0.0, ms - one.latency.low_ms)], [max(0.0, one.latency.high_ms - ms)]]
        mark, _, _ = axes.errorbar(
            [one.expected_ms], [ms], yerr=reach, fmt="D" if one.item.chosen else "o", color=colour, markersize=10,
            elinewidth=1.5, label=f"#{one.item.number}", zorder=4,
        )  # fmt: skip
        set_tip(mark, note(one.item))
    settle(figure)
    places = [(one.expected_ms, one.latency.median_ms) for one in found]
    label_points(axes, places, [f"#{one.item.number}" for one in found], colours, (12, 0))
    return figure
