"""What became of each region, as a picture of a table: ``regions.png``."""

import textwrap
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from l0compile.ir.records import Region
from l0compile.report.plots.colours import FAINT, FORMAT_COLOURS, GRID, INK
from l0compile.report.plots.figure import PlotSize, canvas, shortened
from l0compile.runtime.account.text import format_text, shape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Characters of a reason on a line.
_WIDTH = 72


def draw_regions(regions: tuple[Region, ...]) -> "Figure":
    """Draw a table with a row for each region: name, shapes, density as a bar, format, block and reason."""
    reasons = [textwrap.wrap(region.reason, _WIDTH) or [""] for region in regions]
    # A line for each line of a reason: a cut reason would hide what it is there to tell.
    starts = [0, *accumulate(map(len, reasons))]
    figure, axes = canvas(PlotSize(936, round(72 * (0.26 * max(1, starts[-1]) + 0.7))))
    axes.set_axis_off()
    axes.set_xlim(0, 100)
    axes.set_ylim(starts[-1] + 0.2, -1.4)
    for left, title in ((0, "region"), (27, "shape"), (42, "density"), (56, "format"), (66, "why")):
        axes.text(left, -0.7, title, fontsize=8.5, fontweight="bold", color=INK, va="center")
    for number, (region, reason) in enumerate(zip(regions, reasons, strict=True)):
        _draw_row(axes, number, starts[number], region, reason)
    if not regions:
        axes.text(0, 0.3, "no regions were recorded", fontsize=8.5, color=FAINT, va="center")
    return figure


def _draw_row(axes: "Axes", number: int, line: int, region: Region, reason: list[str]) -> None:
    colour = FORMAT_COLOURS.get(region.format, INK)
    if number % 2 == 0:
        axes.axhspan(line - 0.5, line + len(reason) - 0.5, color="#f5f7fa", zorder=0)
    text: dict[str, Any] = {"fontsize": 8, "color": INK, "va": "center"}
    axes.text(0, line, shortened(region.name, 46, keep_end=True), **text)
    axes.text(27, line, shape_text(region), **text)
    axes.barh(line, 8, left=42, height=0.55, color=GRID)
    axes.barh(line, 8 * region.density, left=42, height=0.55, color=colour, label=region.name)
    axes.text(50.5, line, f"{100 * region.density:.3g} %", **text)
    axes.text(56, line, format_text(region), **{**text, "color": colour})
    for below, words in enumerate(reason):
        axes.text(66, line + below, words, **text)
