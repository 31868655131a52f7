"""The Pareto front of the candidates, with the dense engines for comparison."""

from typing import TYPE_CHECKING, Any

from l0compile.report.canvas import FAINT, GRID, canvas, plain, png, wrapped
from l0compile.result import Candidate, Latency, SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHOSEN, FRONT, OTHER = "#c2410c", "#1d4ed8", "#9aa5b1"
BASELINES = ("#334e68", "#7c3aed", "#0e7490", "#4d7c0f", "#9d174d", "#57534e")
LINES = ("--", "-.", ":")

Point = tuple[Latency, float, Candidate]
"""A candidate that was both measured and trained, with its latency and quality."""


def plot_front(report: SearchResult) -> bytes:
    """PNG of quality over latency: every measured candidate with its interval, the front, and the dense engines."""
    figure, axes = canvas(9.0, 5.4)
    items = report.candidates
    points = [
        (item.latency, item.quality, item) for item in items if item.latency and item.quality is not None
    ]
    front = sorted((point for point in points if point[2].front), key=lambda point: point[0].median_ms)
    _latency_axis(axes, report)
    _baselines(axes, report)
    if front:
        axes.step(
            [p[0].median_ms for p in front], [p[1] for p in front], where="post", color=FRONT, linewidth=1.4
        )
    _scatter(axes, [p for p in points if not p[2].front], color=OTHER, label="candidate")
    _scatter(axes, front, color=FRONT, label="Pareto front")
    _scatter(axes, [p for p in points if p[2].chosen], color=CHOSEN, label="chosen", marker="*", size=190)
    if not points:
        place: dict[str, Any] = {"ha": "center", "transform": axes.transAxes, "color": FAINT}
        axes.text(0.5, 0.5, "no candidate was both measured and trained", **place)
    axes.set_ylabel(wrapped(report.quality_name))
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)
    return png(figure)


def _latency_axis(axes: "Axes", report: SearchResult) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    measured = [item.latency for item in report.candidates] + [row.latency for row in report.rows]
    times = [latency.median_ms for latency in measured if latency is not None]
    times += [report.budget_ms] if report.budget_ms is not None else []
    low, high = 0.8 * min(times, default=1.0), 1.25 * max(times, default=1.0)
    # Logarithmic: equal steps are equal speed-ups, and slow dense engines do not squeeze the candidates together.
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency in ms, logarithmic (median, 95 % interval)")
    if report.budget_ms is not None:
        label = f"within the budget of {report.budget_ms:.3g} ms"
        axes.axvspan(low, report.budget_ms, color="#e0f2e9", zorder=0, label=label)


def _baselines(axes: "Axes", report: SearchResult) -> None:
    dense = [(row, row.latency) for row in report.rows if row.dense and row.latency is not None]
    for place, (row, latency) in enumerate(dense):
        colour = BASELINES[place % len(BASELINES)]
        quality = "" if row.quality is None else f", quality {row.quality:.3g}"
        label = f"{plain(row.name, 32)}: {latency.median_ms:.3g} ms{quality}"
        style = LINES[place % len(LINES)]
        axes.axvline(latency.median_ms, color=colour, linestyle=style, linewidth=1.4, label=label)
        axes.axvspan(latency.low_ms, latency.high_ms, color=colour, alpha=0.12, linewidth=0)


def _scatter(
    axes: "Axes", points: list[Point], *, color: str, label: str, marker: str = "o", size: int = 26
) -> None:
    if not points:
        return
    xs = [latency.median_ms for latency, _, _ in points]
    ys = [quality for _, quality, _ in points]
    # Rounding can leave the median just outside its interval, and matplotlib refuses a negative length.
    left = [max(0.0, latency.median_ms - latency.low_ms) for latency, _, _ in points]
    right = [max(0.0, latency.high_ms - latency.median_ms) for latency, _, _ in points]
    axes.errorbar(xs, ys, xerr=[left, right], fmt="none", ecolor=color, elinewidth=1.2, capsize=3.5, zorder=5)
    axes.scatter(
        xs, ys, s=size, marker=marker, color=color, edgecolors="white", linewidths=0.8, zorder=4, label=label
    )
