"""Which columns of a table stayed, over seeds: in a page, and as a picture."""

from typing import TYPE_CHECKING

from l0compile.report.plots.colours import CHOSEN, FRONT, INK
from l0compile.report.plots.export import set_tip
from l0compile.report.plots.figure import WIDE, Plot, PlotSize, canvas, set_titles
from l0compile.tasks.column_selection import ColumnSelection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW, _AROUND = 26, 110  # height in points of a column's row, and of what is above and below


def columns_size(found: ColumnSelection) -> PlotSize:
    """Return a size with room for every column's name."""
    return PlotSize(WIDE.width, _ROW * len(found.columns) + _AROUND)


def columns_plot(found: ColumnSelection) -> Plot:
    """Return the plot for a page."""
    always = [name for name, share in zip(found.columns, found.share, strict=True) if share == 1.0]
    seeds = len(found.values)
    label = f"The share of {seeds} seeds that keep each column. Always kept: {', '.join(always) or 'none'}."
    caption = (
        "A bar is the share of seeds whose model kept the column, a dot the value of its gate in one of them."
    )
    if found.stability is not None:
        caption += f" Stability over seeds: {found.stability:.2f}, where 1 is agreement and 0 chance."
    return Plot(lambda size: draw_columns(found, size), label, caption, (columns_size(found),))


def draw_columns(found: ColumnSelection, size: PlotSize) -> "Figure":
    """Draw a bar for each column, most often kept first, and a dot for each seed's gate."""
    figure, axes = canvas(size)
    shares = found.share
    order = sorted(range(len(shares)), key=lambda place: (shares[place], -place))
    title = f"{len(found.columns)} columns, {len(found.values)} seeds"
    set_titles(axes, "share of seeds that keep it; value of its gate", title)
    for row, place in enumerate(order):
        (bar,) = axes.barh([row], [shares[place]], height=0.6, color=FRONT, alpha=0.35)
        set_tip(bar, f"{found.columns[place]}: kept by {shares[place]:.0%} of the seeds")
        gates = [of[place] for of in found.values if of[place] != 0.0]
        axes.plot(gates, [row] * len(gates), "o", color=CHOSEN, markersize=5)
    axes.set_yticks(range(len(order)), [found.columns[place] for place in order], color=INK)
    axes.set_xlim(0.0, 1.03)
    return figure
