"""Trials as lines across one axis for each searched value: which values good trials have in common."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from l0compile.report.candidates import note, origin, searched, trials
from l0compile.report.plots.colours import FAINT, INK, quality_colour
from l0compile.report.plots.export import set_tip, settle
from l0compile.report.plots.figure import Plot, PlotSize, add_legend, canvas, label_points, shortened
from l0compile.studies.result import Candidate, SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Side = Literal["left", "center", "right"]


@dataclass(frozen=True)
class SearchedAxis:
    """A searched value, or the quality.

    Attributes:
        name: Of the value.
        values: One for each trial.
        log: Whether equal distances are equal factors.
    """

    name: str
    values: tuple[float, ...]
    log: bool = False

    def places(self) -> list[float]:
        """Return where each trial is on the axis: 0 at the smallest value, 1 at the largest."""
        import numpy as np

        found = np.log(self.values) if self.log else np.array(self.values)
        reach = found.max() - found.min()
        shares: list[float] = ((found - found.min()) / reach if reach else 0.0 * found + 0.5).tolist()
        return shares


@dataclass(frozen=True)
class Trials:
    """What the plot shows: the trials, the axes with the quality as the last one, and which trials were fitted."""

    items: tuple[Candidate, ...]
    axes: tuple[SearchedAxis, ...]
    fitted: frozenset[int]


def parallel(result: SearchResult) -> Plot | None:
    """Return the plot for the page; None where fewer than two trials have searched values."""
    found = searched_trials(result)
    if found is None:
        return None
    quality = found.axes[-1].values
    low, high, best = min(quality), max(quality), quality.index(max(quality))
    traits = ", ".join(f"{axis.name} {axis.values[best]:.3g}" for axis in found.axes[:-1])
    told = f"The best one is #{found.items[best].number}: {traits}."
    label = f"{len(quality)} trials, quality {low:.4g} to {high:.4g}. {told}"
    caption = (
        "Colour is quality. Trials with thick lines and numbers were then fitted to a latency."
        " Axes of weights are logarithmic."
    )
    sizes = (PlotSize(880, 400), PlotSize(360, 56 * len(found.axes) + 60))
    return Plot(lambda size: draw_parallel(found, size), label, caption, sizes)


def searched_trials(result: SearchResult) -> Trials | None:
    """Return the trials that have a value on every axis; None for fewer than two."""
    known = [(trial, searched(trial.choices), trial.quality) for trial in trials(result)]
    names = list(dict.fromkeys(name for _, values, _ in known for name in values))
    full = [(t, v, q) for t, v, q in known if q is not None and len(v) == len(names)]
    if len(full) < 2 or not names:
        return None
    columns = {name: tuple(values[name] for _, values, _ in full) for name in names}
    axes = [
        SearchedAxis(n, found, n.startswith("weight.") and min(found) > 0) for n, found in columns.items()
    ]
    axes.append(SearchedAxis("quality", tuple(quality for _, _, quality in full)))
    fitted = frozenset(number for c in result.candidates if (number := origin(result, c)) is not None)
    return Trials(tuple(trial for trial, _, _ in full), tuple(axes), fitted)


def draw_parallel(found: Trials, size: PlotSize) -> "Figure":
    """Draw one line per trial, coloured by quality. Axes stand side by side, or lie on top of each other if narrow."""
    # Upright axes have no room for their names on a telephone.
    lying, last = size.narrow, len(found.axes) - 1
    figure, axes = canvas(size)
    axes.set_axis_off()
    axes.set(xlim=(-0.04, 1.04) if lying else (-0.3, last + 0.3))
    axes.set(ylim=(last + 0.6, -0.4) if lying else (-0.02, 1.02))
    columns = [axis.places() for axis in found.axes]
    _draw_trials(axes, found, columns, lying)
    for number, axis in enumerate(found.axes):
        (_draw_lying if lying else _draw_upright)(axes, axis, number, len(found.axes))
    quality = found.axes[-1].values
    ends = ((0.0, f"{min(quality):.4g}, the worst quality"), (1.0, f"{max(quality):.4g}, the best"))
    add_legend(
        axes,
        [
            axes.plot([], [], color=quality_colour(share), linewidth=3, label=words)[0]
            for share, words in ends
        ],
    )
    settle(figure)
    fitted = [index for index, item in enumerate(found.items) if item.number in found.fitted]
    places = [columns[-1][index] for index in fitted]
    words = [f"#{found.items[index].number}" for index in fitted]
    if lying:
        label_points(
            axes, [(place, last) for place in places], words, [INK] * len(words), (0, -18), upright=False
        )
    else:
        label_points(axes, [(last, place) for place in places], words, [INK] * len(words), (8, 0))
    return figure


def _draw_trials(axes: "Axes", found: Trials, columns: list[list[float]], lying: bool) -> None:
    """Draw the lines; ``columns`` has the place of each trial by axis. Fitted and good trials lie on top."""
    heights = range(len(columns))
    for index in sorted(
        range(len(found.items)), key=lambda i: (found.items[i].number in found.fitted, columns[-1][i])
    ):
        item, places = found.items[index], [column[index] for column in columns]
        thick = item.number in found.fitted
        (line,) = axes.plot(
            *((places, heights) if lying else (heights, places)), color=quality_colour(columns[-1][index]),
            linewidth=3 if thick else 1.3, alpha=None if thick else 0.7, label=f"#{item.number}", clip_on=False,
        )  # fmt: skip
        set_tip(line, note(item))


def _draw_upright(axes: "Axes", axis: SearchedAxis, x: int, count: int) -> None:
    axes.axvline(x, color=FAINT, linewidth=1, zorder=1)
    kind, _, name = axis.name.partition(".")
    room = max(4, 100 // count)
    for words, up in ((kind, 38), (name, 23)) if name else ((kind, 23),):
        _write(axes, shortened(words, room), (x, 1), (0, up), "center", "bold")
    _write(axes, f"{max(axis.values):.3g}", (x, 1), (0, 5), "center")
    _write(axes, f"{min(axis.values):.3g}", (x, 0), (0, -16), "center")


def _draw_lying(axes: "Axes", axis: SearchedAxis, y: int, count: int) -> None:
    axes.axhline(y, color=FAINT, linewidth=1, zorder=1)
    _write(axes, shortened(axis.name, 28), (0.5, y), (0, 7), "center", "bold")
    _write(axes, f"{min(axis.values):.3g}", (0, y), (-10, 7), "left")
    _write(axes, f"{max(axis.values):.3g}", (1, y), (10, 7), "right")


def _write(
    axes: "Axes",
    words: str,
    place: tuple[float, float],
    offset: tuple[float, float],
    side: Side,
    weight: str = "normal",
) -> None:
    axes.annotate(
        words, place, offset, textcoords="offset points", ha=side, color=INK, fontsize=13, fontweight=weight
    )
