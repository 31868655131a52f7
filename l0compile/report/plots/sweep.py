"""Latencies of engines at several sizes, as one table and one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l0compile.measurement import Measurement, ratio
from l0compile.report.plots.colours import CHOSEN
from l0compile.report.plots.export import saved
from l0compile.report.plots.figure import WIDE, canvas, set_range, set_titles, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS = (".png", ".svg", ".pdf")
OURS = "l0compile"
_OTHERS = ("#1d4ed8", "#0f766e", "#7b8794", "#a16207")
_MARKS = "osD^vP"


@dataclass(frozen=True)
class SweepPoint:
    """What was measured at one size.

    Attributes:
        sizes: Number by name, such as ``{"batch": 8}``.
        results: Measurement by engine.
    """

    sizes: Mapping[str, int]
    results: Mapping[str, Measurement]

    @property
    def best_dense(self) -> str | None:
        """The quickest engine that is not ours; None if none of them ran."""
        found = {
            name: result.median_ms for name, result in self.results.items() if result.ok and name != OURS
        }
        return min(found, key=lambda name: found[name], default=None)


def sweep_table(title: str, points: Sequence[SweepPoint], percentile: float) -> object:
    """Return a table with a row for each size: every engine's latency and interval, and our speed-up over the best."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    what = "latency, ms" if percentile == 50 else f"percentile {percentile:g}, ms"
    table = Table(title=escape(f"{title}: {what} [95 % interval]"), title_justify="left", box=box.SIMPLE_HEAD)
    engines = _engines(points)
    for name in (*points[0].sizes, *engines, *(["speed-up over the best other"] if OURS in engines else [])):
        table.add_column(name, justify="right")
    for point in points:
        cells = [str(size) for size in point.sizes.values()]
        cells += [_cell(point.results[engine]) for engine in engines]
        table.add_row(*(escape(cell) for cell in (*cells, *([_speedup(point)] if OURS in engines else []))))
    reasons = {(e, str(r.error)) for point in points for e, r in point.results.items() if not r.ok}
    notes = [f"{engine}: {reason}" for engine, reason in sorted(reasons)]
    if any(result.ok and result.noisy for point in points for result in point.results.values()):
        notes.append("~ noisy: the machine was doing something else")
    if notes:
        table.caption, table.caption_justify = escape("\n".join(notes)), "left"
    return table


def sweep_plot(title: str, points: Sequence[SweepPoint], suffix: str) -> bytes:
    """Return the drawing of `draw_sweep` as a file of the type ``suffix``, one of ``PLOTS``."""
    return saved(draw_sweep(title, points), suffix.lstrip("."))


def draw_sweep(title: str, points: Sequence[SweepPoint]) -> "Figure":
    """Draw latency over the size that varies most, a line for each engine and each combination of other sizes."""
    figure, axes = canvas(WIDE)
    sizes = {name: sorted({point.sizes[name] for point in points}) for name in points[0].sizes}
    along = max(reversed(sizes), key=lambda name: len(sizes[name]), default=None)
    for number, engine in enumerate(_engines(points)):
        colour = CHOSEN if engine == OURS else _OTHERS[number % len(_OTHERS)]
        for place, (label, line) in enumerate(_lines(points, engine, along).items()):
            found = [(size, result) for size, result in line if result.ok]
            if not found:
                continue
            x, middles = [size for size, _ in found], [result.median_ms for _, result in found]
            below = [max(0.0, result.median_ms - result.low_ms) for _, result in found]
            above = [max(0.0, result.high_ms - result.median_ms) for _, result in found]
            axes.errorbar(
                x, middles, yerr=[below, above], color=colour, marker=_MARKS[place % len(_MARKS)], capsize=3,
                linewidth=1.5, linestyle="-" if place == 0 else "--", label=f"{engine} {label}".strip(),
            )  # fmt: skip
    set_titles(axes, along or "one size", f"{shortened(title, 60)}: latency in ms, with 95 % intervals")
    results = [result for point in points for result in point.results.values() if result.ok]
    times = [ms for result in results for ms in (result.low_ms, result.median_ms, result.high_ms)]
    set_range(axes, "y", times, 8, log=True, margin=0.08)
    if along is not None and len(sizes[along]) > 1:
        axes.set_xscale("log")
        axes.set_xticks(sizes[along], [str(size) for size in sizes[along]])
        axes.minorticks_off()
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return figure


def _engines(points: Sequence[SweepPoint]) -> list[str]:
    return list(dict.fromkeys(engine for point in points for engine in point.results))


def _lines(
    points: Sequence[SweepPoint], engine: str, along: str | None
) -> dict[str, list[tuple[int, Measurement]]]:
    """Return, by the other sizes in words, (size along the axis, measurement) in order of size."""
    found: dict[str, list[tuple[int, Measurement]]] = {}
    for point in points:
        label = ", ".join(f"{name} {size}" for name, size in point.sizes.items() if name != along)
        found.setdefault(label, []).append((point.sizes[along] if along else 1, point.results[engine]))
    return {label: sorted(line, key=lambda pair: pair[0]) for label, line in found.items()}


def _cell(result: Measurement) -> str:
    if not result.ok:
        return "–"
    return f"{result.median_ms:.3g} [{result.low_ms:.3g}, {result.high_ms:.3g}]{'~' if result.noisy else ''}"


def _speedup(point: SweepPoint) -> str:
    best, ours = point.best_dense, point.results.get(OURS)
    if best is None or ours is None or not ours.ok:
        return "–"
    times = ratio(point.results[best], ours, paired=True)
    return f"{times.value:.2f}× [{times.low:.2f}, {times.high:.2f}] ({best})"
