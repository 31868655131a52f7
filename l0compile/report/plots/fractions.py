"""A score over the active fraction, with its spread over seeds: in a page, and as a picture."""

from typing import TYPE_CHECKING

from l0compile.report.plots.colours import BUDGET, CHOSEN, FAINT, FRONT, WITHIN_BUDGET
from l0compile.report.plots.export import set_tip
from l0compile.report.plots.figure import HALF, Plot, PlotSize, add_legend, canvas, set_range, set_titles
from l0compile.studies.paper.result import PaperRow, PaperTable, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def fractions_plot(table: PaperTable, score: str) -> Plot:
    """Return the plot of one score of one series for the page."""
    dense, gated = _parts(table)
    label = (
        f"{score} of {table.title} at {len(gated)} active fractions: {_spread(dense.raw[score])} for the dense model, "
        f"{_spread(gated[0].raw[score])} at {gated[0].active:.0%}, {_spread(gated[-1].raw[score])} at "
        f"{gated[-1].active:.0%}. The table has the numbers."
    )
    caption = f"{score} on held-out data; bars and bands are one standard deviation over the seeds."
    return Plot(lambda size: draw_fractions(table, score, size), label, caption, (HALF,))


def draw_fractions(table: PaperTable, score: str, size: PlotSize) -> "Figure":
    """Draw the score of every fraction, and of the dense model as a band; ECE also with temperatures."""
    dense, gated = _parts(table)
    lines = [("gated", CHOSEN, "D", [row.raw[score] for row in gated])]
    bands = [("dense", BUDGET, dense.raw[score])]
    if score in ("ECE", "NLL", "Brier"):
        lines.append(("gated, scaled", FRONT, "o", [row.scaled[score] for row in gated]))
        bands.append(("dense, scaled", FAINT, dense.scaled[score]))
    figure, axes = canvas(size)
    set_titles(axes, "active fraction of the features", f"{table.title}: {score}")
    spreads = [one for _, _, _, points in lines for one in points] + [one for _, _, one in bands]
    set_range(axes, "x", [0.0, *(row.active for row in gated)], 6, log=False, margin=0.04)
    set_range(axes, "y", [end for one in spreads for end in _ends(one)], 6, log=False, margin=0.1)
    keys = [_draw_band(axes, *band) for band in bands] + [_draw_line(axes, gated, *line) for line in lines]
    add_legend(axes, keys)
    return figure


def _parts(table: PaperTable) -> tuple[PaperRow, list[PaperRow]]:
    return table.rows[0], [row for row in table.rows if row.fraction is not None]


def _draw_band(axes: "Axes", name: str, colour: str, spread: Spread) -> "Line2D":
    low, high = _ends(spread)
    axes.axhspan(
        low, high, color=WITHIN_BUDGET if colour == BUDGET else colour, alpha=0.3, linewidth=0, zorder=0
    )
    line = axes.axhline(spread.mean, color=colour, linewidth=1.5, linestyle=(0, (5, 3)), label=name, zorder=1)
    set_tip(line, f"{name}: {_spread(spread)}")
    return line


def _draw_line(
    axes: "Axes", rows: list[PaperRow], name: str, colour: str, mark: str, points: list[Spread]
) -> "Line2D":
    across = [row.active for row in rows]
    means, reach = [one.mean for one in points], [one.deviation for one in points]
    axes.errorbar(across, means, yerr=reach, color=colour, fmt="none", elinewidth=1.5, capsize=4, zorder=3)
    (line,) = axes.plot(
        across, means, color=colour, marker=mark, markersize=7, linewidth=1.5, label=name, zorder=4
    )
    for place, one, row in zip(across, points, rows, strict=True):
        (spot,) = axes.plot([place], [one.mean], color=colour, marker=mark, markersize=7, zorder=5)
        set_tip(spot, f"{name}, {row.active:.0%} active: {_spread(one)}")
    return line


def _ends(spread: Spread) -> tuple[float, float]:
    return spread.mean - spread.deviation, spread.mean + spread.deviation


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.4f} ± {spread.deviation:.4f}"
