"""The Pareto front of the candidates, with the dense engines for comparison."""

from typing import TYPE_CHECKING, Any

from l0compile.report.plots.canvas import FAINT, GRID, canvas, plain, png, wrapped
from l0compile.report.plots.places import Place, Places, places
from l0compile.studies.result import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHOSEN, FRONT, OTHER = "#c2410c", "#1d4ed8", "#9aa5b1"
BASELINES = ("#334e68", "#7c3aed", "#0e7490", "#4d7c0f", "#9d174d", "#57534e")
LINES = ("--", "-.", ":")


def plot_front(report: SearchResult) -> bytes:
    """PNG of quality over latency: every measured candidate with its interval, the front, and the dense engines."""
    figure, axes = canvas(9.0, 5.4)
    found = places(report)
    _latency_axis(axes, found)
    _baselines(axes, found)
    if found.front:
        steps = [p.at.value for p in found.front], [p.quality for p in found.front]
        axes.step(*steps, where="post", color=FRONT, linewidth=1.4)
    chosen = [p for p in found.points if p.item.chosen]
    front = [p for p in found.points if p.item.front]
    _scatter(axes, [p for p in found.points if p not in front + chosen], color=OTHER, label="candidate")
    _scatter(axes, [p for p in front if p not in chosen], color=FRONT, label="Pareto front")
    _scatter(axes, chosen, color=CHOSEN, label="chosen, as in the table", marker="*", size=190)
    if not found.points:
        place: dict[str, Any] = {"ha": "center", "transform": axes.transAxes, "color": FAINT}
        axes.text(0.5, 0.5, "no candidate was both measured and trained", **place)
    axes.set_ylabel(wrapped(report.quality_name))
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)
    return png(figure)


def _latency_axis(axes: "Axes", found: Places) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    times = [p.at.value for p in found.points] + [at.value for _, at in found.engines]
    times += [found.budget] if found.budget is not None else []
    low, high = 0.8 * min(times, default=1.0), 1.25 * max(times, default=1.0)
    # Logarithmic: equal steps are equal speed-ups, and slow dense engines do not squeeze the candidates together.
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(wrapped(f"{found.title}, logarithmic (median, 95 % interval)", 72))
    if found.budget is not None:
        label = f"within the budget of {found.words(found.budget)}"
        axes.axvspan(low, found.budget, color="#e0f2e9", zorder=0, label=label)


def _baselines(axes: "Axes", found: Places) -> None:
    for place, (row, at) in enumerate(found.engines):
        colour = BASELINES[place % len(BASELINES)]
        quality = "" if row.quality is None else f", quality {row.quality:.3g}"
        label = f"{plain(row.name, 32)}: {found.words(at.value)}{quality}"
        style = LINES[place % len(LINES)]
        axes.axvline(at.value, color=colour, linestyle=style, linewidth=1.4, label=label)
        axes.axvspan(at.low, at.high, color=colour, alpha=0.12, linewidth=0)


def _scatter(
    axes: "Axes", points: list[Place], *, color: str, label: str, marker: str = "o", size: int = 26
) -> None:
    if not points:
        return
    xs, ys = [p.at.value for p in points], [p.quality for p in points]
    # Rounding can leave the median just outside its interval, and matplotlib refuses a negative length.
    left = [max(0.0, p.at.value - p.at.low) for p in points]
    right = [max(0.0, p.at.high - p.at.value) for p in points]
    axes.errorbar(xs, ys, xerr=[left, right], fmt="none", ecolor=color, elinewidth=1.2, capsize=3.5, zorder=5)
    axes.scatter(
        xs, ys, s=size, marker=marker, color=color, edgecolors="white", linewidths=0.8, zorder=4, label=label
    )
