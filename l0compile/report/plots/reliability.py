"""Accuracy over confidence of several models, with the gap in each bin and how many examples it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l0compile.calibration import Calibration, Interval, ReliabilityBin, SplitCalibration
from l0compile.report.plots.colours import CHOSEN, FAINT, FRONT, INK, OTHER
from l0compile.report.plots.export import set_tip
from l0compile.report.plots.figure import (
    NARROW,
    WIDE,
    Plot,
    PlotSize,
    add_legend,
    panels,
    set_titles,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOO_SURE, NOT_SURE_ENOUGH = CHOSEN, FRONT
_ROW = 330  # height in points of a row of panels


@dataclass(frozen=True)
class Reliability:
    """A panel of the diagram.

    Attributes:
        name: of the model, and whether it is raw or scaled.
        bins: equal-width bins of confidence.
        ece: their calibration error with its interval, if known.
        noise: the calibration error that chance alone gives, if known.
    """

    name: str
    bins: Sequence[ReliabilityBin]
    ece: Interval | None = None
    noise: Interval | None = None


def reliability_panels(reports: Sequence[Calibration]) -> list[Reliability]:
    """Return two panels for each report: the model as it is, and scaled by its temperature."""
    found = []
    for report in reports:
        scaled = f"{report.name}, T = {report.temperature.value:.3g}"
        found += [_panel(f"{report.name}, raw", report.raw), _panel(scaled, report.scaled)]
    return found


def reliability(found: Sequence[Reliability]) -> Plot | None:
    """Return the plot for a page; None without models."""
    if not found:
        return None
    said = "; ".join(f"{one.name}: {_error(one)}" for one in found)
    examples = sum(item.count for item in found[0].bins)
    caption = (
        f"Each mark is a bin of confidence in the predicted class, of {examples:,} examples in all, and the line from"
        " it to the diagonal is the gap between accuracy and confidence: below the diagonal the model is too sure. Bars"
        " below show the share of examples in each bin; ECE is the mean gap over examples, with its 95 % interval; "
        "chance: what a perfectly calibrated model would show."
    )
    label = f"Accuracy over confidence in {len(found)} panels. {said}."
    sizes = tuple(diagram_size(len(found), width) for width in (WIDE.width, NARROW.width))
    return Plot(lambda size: draw_reliability(found, size), label, caption, sizes)


def diagram_size(count: int, width: int = WIDE.width) -> PlotSize:
    """Return the size of a diagram of ``count`` panels that is ``width`` points wide."""
    return PlotSize(width, _ROW * -(-count // _columns(count, width)) + 70)


def draw_reliability(found: Sequence[Reliability], size: PlotSize) -> "Figure":
    """Draw a panel for each of ``found``, at least one: gaps above, a histogram of confidence below."""
    columns = _columns(len(found), size.width)
    figure, grid = panels(size, len(found), columns, (3, 1))
    set_titles(grid[0][0], "", "accuracy; share of examples")
    filled = [item for one in found for item in one.bins if item.accuracy is not None]
    least = min(item.low for item in filled)
    lowest = min(least, *(item.accuracy for item in filled if item.accuracy is not None))
    most = max(item.count / _examples(one) for one in found for item in one.bins)
    room = 0.03 * (1.0 - least)
    for one, (above, below) in zip(found, grid, strict=True):
        _draw_gaps(above, one)
        above.set(xlim=(least - room, 1 + room), ylim=(lowest - room, 1 + room))
        above.tick_params(labelbottom=False)
        above.set_title(shortened(one.name, size.width // 8 // columns), fontsize=12, color=INK, loc="left")
        _write_error(above, one)
        _draw_histogram(below, one, most)
        below.set(xlim=above.get_xlim(), ylim=(0, 1.05 * most))
        below.set_xlabel("confidence", fontsize=12, color=INK)
    keys = [
        grid[0][0].plot([], [], "o-", color=colour, label=words)[0]
        for colour, words in ((TOO_SURE, "too sure"), (NOT_SURE_ENOUGH, "not sure enough"))
    ]
    add_legend(grid[0][0], keys)
    return figure


def _draw_gaps(axes: "Axes", one: Reliability) -> None:
    axes.plot((0, 1), (0, 1), color=OTHER, linestyle=(0, (5, 4)), linewidth=1, label="diagonal")
    for item in one.bins:
        if item.confidence is None or item.accuracy is None:
            continue
        colour = TOO_SURE if item.accuracy < item.confidence else NOT_SURE_ENOUGH
        ends = [item.confidence] * 2, [item.confidence, item.accuracy]
        axes.plot(*ends, color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt", label="gap")
        (mark,) = axes.plot(
            [item.confidence], [item.accuracy], "o", color=colour, markersize=7, label="bin", zorder=4
        )
        set_tip(
            mark,
            f"{one.name}, confidence above {item.low:.3f} to {item.high:.3f}: {item.count:,} examples, mean confidence"
            f" {item.confidence:.3f}, accuracy {item.accuracy:.3f}",
        )


def _draw_histogram(axes: "Axes", one: Reliability, most: float) -> None:
    axes.bar(
        [item.low for item in one.bins], [item.count / _examples(one) for item in one.bins], align="edge",
        width=[0.92 * (item.high - item.low) for item in one.bins], color=FAINT, label="share of examples",
    )  # fmt: skip
    axes.set_yticks([0, most], ["0", f"{100 * most:.0f} %"])


def _panel(name: str, found: SplitCalibration) -> Reliability:
    return Reliability(name, found.bins, found.measures.get("ece"), found.noise)


def _write_error(axes: "Axes", one: Reliability) -> None:
    """Write the calibration error, and its interval if known, where a reliable model has no marks."""
    value, _, interval = _error(one).partition(" [")
    noise = f"chance: {one.noise.value:.4f}" if one.noise else ""
    for line, words in enumerate(filter(None, (value, interval and f"[{interval}", noise))):
        axes.annotate(
            words, (0.04, 0.98), (0, -15 * line), xycoords="axes fraction", textcoords="offset points", va="top",
            color=INK, fontsize=12,
        )  # fmt: skip


def _error(one: Reliability) -> str:
    if one.ece is not None:
        return f"ECE {one.ece.value:.4f} [{one.ece.low:.4f}, {one.ece.high:.4f}]"
    gaps = [
        item.count * abs(item.accuracy - item.confidence)
        for item in one.bins
        if item.accuracy is not None and item.confidence is not None
    ]
    return f"ECE {sum(gaps) / _examples(one):.4f}"


def _examples(one: Reliability) -> int:
    return sum(item.count for item in one.bins)


def _columns(count: int, width: int) -> int:
    """How many panels stand side by side in a width in points: four on a page, two on a telephone."""
    return min(count, max(2, width // 210))
