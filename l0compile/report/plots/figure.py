"""What all plots have in common: sizes, axes, round numbers beside them, and labels that do not overlap."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l0compile.report.plots.colours import FAINT, GRID, INK, PAPER
from l0compile.report.plots.export import svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


@dataclass(frozen=True)
class PlotSize:
    """Width and height in points, of which one is a pixel where the page has room."""

    width: int
    height: int

    @property
    def narrow(self) -> bool:
        """Whether the plot is for a telephone."""
        return self.width < 400


WIDE, NARROW, HALF = PlotSize(880, 430), PlotSize(360, 380), PlotSize(430, 380)


@dataclass(frozen=True)
class Plot:
    """A plot of a page.

    Attributes:
        draw: Makes the figure in a given size.
        label: A sentence that says what can be seen, for those who can't see it.
        caption: The text under the plot.
        sizes: One size, or a wide and a narrow one, of which the style sheet shows the one that fits.
    """

    draw: Callable[[PlotSize], "Figure"]
    label: str
    caption: str
    sizes: tuple[PlotSize, ...] = (WIDE, NARROW)

    def pictures(self) -> list["Markup"]:
        """Return one ``<svg>`` per size."""
        kinds = ("fits",) if len(self.sizes) == 1 else ("wide", "narrow")
        return [svg(self.draw(size), self.label, kind) for size, kind in zip(self.sizes, kinds, strict=True)]


def canvas(size: PlotSize) -> "tuple[Figure, Axes]":
    """Return an empty figure of ``size`` with one pair of axes."""
    figure = _empty(size)
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def panels(
    size: PlotSize, count: int, columns: int, heights: Sequence[float]
) -> "tuple[Figure, list[tuple[Axes, ...]]]":
    """Return an empty figure with ``count`` panels, side by side and in rows, each of axes above each other.

    Args:
        size: Of the figure.
        count: How many panels there are.
        columns: How many of them stand side by side.
        heights: Of the axes of a panel, relative to each other.
    """
    figure, rows = _empty(size), -(-count // columns)
    grid = figure.add_gridspec(rows * len(heights), columns, height_ratios=list(heights) * rows)
    found = []
    for number in range(count):
        row, column = divmod(number, columns)
        panel = tuple(figure.add_subplot(grid[row * len(heights) + at, column]) for at in range(len(heights)))
        for axes in panel:
            _style(axes)
        found.append(panel)
    return figure, found


def _empty(size: PlotSize) -> "Figure":
    # Figure, not pyplot: no global state, no window system.
    from matplotlib.figure import Figure

    return Figure(figsize=(size.width / 72, size.height / 72), dpi=72, layout="constrained", facecolor=PAPER)


def _style(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(which="both", length=0, labelsize=13, labelcolor=INK, pad=6)
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)


def set_titles(axes: "Axes", across: str, up: str) -> None:
    """Name the axes, on one line each; the name of the upright one lies above it, where it can be read."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = int(figure.get_figwidth() * 72 / 8)
    style: dict[str, Any] = {"fontsize": 13, "fontweight": "bold", "color": INK}
    axes.set_xlabel(shortened(across, room), **style)
    figure.suptitle(shortened(up, room), x=0.01, ha="left", **style)


def add_legend(axes: "Axes", keys: "Sequence[Line2D]", columns: int = 3) -> None:
    """Show a legend with ``keys`` below the plot, ``columns`` of them side by side."""
    axes.get_figure(root=True).legend(  # type: ignore[union-attr]
        handles=keys, loc="outside lower center", ncols=columns, frameon=False, fontsize=13, labelcolor=INK
    )


def set_range(
    axes: "Axes", which: str, values: Iterable[float], ticks: int, log: bool, margin: float
) -> None:
    """Let the axis ``which`` ("x" or "y") hold ``values`` with a share ``margin`` of room, and number it roundly.

    Args:
        axes: Where the axis is.
        which: "x" or "y".
        values: What the axis must hold.
        ticks: About how many numbers fit beside the axis.
        log: Whether equal distances are equal factors; the values are above 0 then.
        margin: Room at both ends, as a share of the range of the values.
    """
    import numpy as np

    found = np.array(list(values) or [1.0])
    found = np.log(found) if log else found
    low, high = float(found.min()), float(found.max())
    room = margin * (high - low) if high > low else 0.1 * (1.0 if log else abs(low) or 1.0)
    ends = np.array([low - room, high + room])
    low, high = np.exp(ends) if log else ends
    axes.set(**{f"{which}scale": "log" if log else "linear", f"{which}lim": (low, high)})
    marks = round_numbers(low, high, ticks, log)
    getattr(axes, f"set_{which}ticks")(marks, [f"{mark:.4g}" for mark in marks])
    axes.minorticks_off()


def round_numbers(low: float, high: float, count: int, log: bool) -> list[float]:
    """Return up to about ``count`` round numbers in ``low``..``high``."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    # Over a small range logarithms are nearly even, and steps of one size are easier to read.
    if not log or high / low < 4:
        found = MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [float(value) for value in found if low <= value <= high]
    for digits in ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        values = LogLocator(subs=digits, numticks=1000).tick_values(low, high)
        inside = [float(value) for value in values if low <= value <= high]
        if len(inside) <= count:
            break
    return inside


def label_points(
    axes: "Axes",
    places: Sequence[tuple[float, float]],
    words: Sequence[str],
    colours: Sequence[str],
    offset: tuple[float, float],
    *,
    upright: bool = True,
) -> None:
    """Write ``words`` beside ``places``, moved until no two of them overlap.

    Args:
        axes: What the places are on; its figure is settled.
        places: In the units of the axes.
        words: One text for each place.
        colours: One for each text.
        offset: From a place to its text, in points.
        upright: Whether texts move up and down; else they move left and right.
    """
    which, gap = (1, 14) if upright else (0, 32)
    low, high = ((axes.bbox.y0 + 6, axes.bbox.y1 - 24), (axes.bbox.x0, axes.bbox.x1))[not upright]
    ends = [float(axes.transData.transform(place)[which]) + offset[which] for place in places]
    moves = [new - old for old, new in zip(ends, spread(ends, gap, low, high), strict=True)]
    for place, move, text, colour in zip(places, moves, words, colours, strict=True):
        shift = (offset[0], offset[1] + move) if upright else (offset[0] + move, offset[1])
        made = axes.annotate(
            text, place, shift, textcoords="offset points", ha="left" if upright else "center",
            va="center" if upright else "baseline", color=colour, fontsize=13,
        )  # fmt: skip
        made.set_in_layout(False)


def spread(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """Return ``places`` moved apart until neighbours are ``gap`` apart, as far as ``low``..``high`` has room."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    found = list(places)
    for back, run in ((False, order), (True, order[::-1])):
        edge = high if back else low
        for index in run:
            found[index] = min(found[index], edge) if back else max(found[index], edge)
            edge = found[index] - gap if back else found[index] + gap
    return found


def shortened(text: str, limit: int, keep_end: bool = False) -> str:
    """Return ``text`` on one line, cut to ``limit`` characters at its end, or at its start with ``keep_end``."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return "…" + text[-limit + 1 :] if keep_end else text[: limit - 1] + "…"
