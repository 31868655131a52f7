"""Latency against quality of everything that was measured: in the page, and as ``pareto.png``."""

from typing import TYPE_CHECKING

from l0compile.report.candidates import note, trials
from l0compile.report.plots.colours import (
    BUDGET,
    CHOSEN,
    FAINT,
    FRONT,
    INK,
    OTHER,
    PAPER,
    TRIAL,
    WITHIN_BUDGET,
)
from l0compile.report.plots.export import set_tip, settle
from l0compile.report.plots.figure import (
    Plot,
    PlotSize,
    add_legend,
    canvas,
    label_points,
    set_range,
    set_titles,
    shortened,
    spread,
)
from l0compile.report.plots.standings import Standing, Standings, standings
from l0compile.studies.result import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour, shape and name of a candidate: they differ in more than hue.
_CHOSEN, _ON_FRONT, _OTHER = (CHOSEN, "D", "chosen"), (FRONT, "o", "Pareto front"), (OTHER, "o", "other")


def tradeoff(result: SearchResult) -> Plot | None:
    """Return the plot for the page; None where no candidate was both measured and trained."""
    found = standings(result)
    if not found.candidates:
        return None
    front = sum(one.item.front for one in found.candidates)
    chosen = [
        f"; the chosen one takes {found.words(one.at.value)} at {one.quality:.3g}"
        for one in found.candidates
        if one.item.chosen
    ]
    known = "" if found.word else "measured "
    budget = f", with a budget of {found.plain(found.budget)}" if found.budget is not None else ""
    label = (
        f"{result.quality_name} over {found.title} of {len(found.candidates)} {known}candidates{budget}: {front} on"
        f" the Pareto front{chosen[0] if chosen else ''}. The tables above and below have the numbers."
    )
    return Plot(lambda size: draw_tradeoff(result, size), label, _caption(result, found))


def draw_tradeoff(result: SearchResult, size: PlotSize) -> "Figure":
    """Draw every measured candidate with its interval, the front, the budget and the dense engines."""
    found = standings(result)
    figure, axes = canvas(size)
    set_titles(
        axes,
        found.title if size.narrow else f"{found.title}, logarithmic, with {_intervals(found)}",
        result.quality_name,
    )
    _set_ranges(axes, found, size)
    _draw_budget(axes, found)
    for trial in trials(result):
        if trial.latency is None and trial.quality is not None:
            low, high = axes.get_ylim()
            if low <= trial.quality <= high:
                axes.axhline(trial.quality, 0, 0.02, color=TRIAL, linewidth=2, label=f"trial {trial.number}")
    steps = [one.at.value for one in found.front], [one.quality for one in found.front]
    axes.step(*steps, where="post", color=FRONT, linewidth=1.5, label="front")
    for one in found.candidates:
        _draw_candidate(axes, one, found)
    if not found.candidates:
        axes.text(
            0.5, 0.5, "no candidate was both measured and trained", ha="center", transform=axes.transAxes
        )
    kinds = [kind for kind in (_CHOSEN, _ON_FRONT, _OTHER) if kind in map(_kind, found.candidates)]
    keys = [
        axes.plot([], [], shape, color=colour, mfc=_fill(colour), label=words)[0]
        for colour, shape, words in kinds
    ]
    add_legend(axes, keys)
    settle(figure)
    _draw_engines(axes, found, size)
    places = [(max(one.at.value, one.at.high), one.quality) for one in found.candidates]
    words = [f"#{one.item.number}" for one in found.candidates]
    label_points(axes, places, words, [_kind(one)[0] for one in found.candidates], (5, 7))
    return figure


def _set_ranges(axes: "Axes", found: Standings, size: PlotSize) -> None:
    times = [end for one in found.candidates for end in (one.at.low, one.at.high)]
    times += [at.value for _, at in found.engines]
    times += [found.budget] if found.budget is not None else []
    # Logarithmic: equal steps are equal speed-ups, and slow dense engines do not squeeze the candidates together.
    set_range(axes, "x", times, 4 if size.narrow else 8, log=True, margin=0.08)
    set_range(axes, "y", [one.quality for one in found.candidates], 6, log=False, margin=0.15)


def _draw_budget(axes: "Axes", found: Standings) -> None:
    if found.budget is None:
        return
    low, high = axes.get_xlim()
    axes.axvspan(low, found.budget, color=WITHIN_BUDGET, alpha=0.4, linewidth=0, zorder=0)
    axes.axvline(found.budget, color=BUDGET, linewidth=2, label="budget")
    # Quick and good is the corner that stays empty; near the left edge it has no room for words.
    roomy = (found.budget / low) > (high / low) ** 0.3
    axes.annotate(
        f"budget {found.plain(found.budget)}", (found.budget, 1), (-5 if roomy else 5, -4), va="top",
        xycoords=("data", "axes fraction"), textcoords="offset points", ha="right" if roomy else "left",
        color=INK, fontsize=13, fontweight="bold",
    )  # fmt: skip


def _draw_candidate(axes: "Axes", one: Standing, found: Standings) -> None:
    colour, shape, _ = _kind(one)
    # Rounding can leave the median just outside its interval, and matplotlib refuses a negative length.
    reach = [[max(0.0, one.at.value - one.at.low)], [max(0.0, one.at.high - one.at.value)]]
    mark, _, _ = axes.errorbar(
        [one.at.value], [one.quality], xerr=reach, fmt=shape, color=colour, mfc=_fill(colour), markersize=10,
        mew=2, elinewidth=1.5, capsize=4, label=f"#{one.item.number}", zorder=4,
    )  # fmt: skip
    words = note(one.item)
    if one.final:
        latency = found.words(one.at.value)
        words = f"#{one.item.number}, chosen, trained and compiled: {latency}, quality {one.quality:.4g}"
    set_tip(mark, words)


def _kind(one: Standing) -> tuple[str, str, str]:
    return _CHOSEN if one.item.chosen else _ON_FRONT if one.item.front else _OTHER


def _fill(colour: str) -> str:
    return PAPER if colour == OTHER else colour


def _draw_engines(axes: "Axes", found: Standings, size: PlotSize) -> None:
    left, right = axes.bbox.x0 + 12, axes.bbox.x1 - 4
    places = [float(axes.transData.transform((at.value, 0))[0]) for _, at in found.engines]
    for (row, at), place, moved in zip(found.engines, places, spread(places, 15, left, right), strict=True):
        axes.axvline(at.value, color=FAINT, linestyle=(0, (5, 4)), linewidth=1, label=row.name, zorder=1)
        quality = "" if row.quality is None else f", quality {row.quality:.3g}"
        words = shortened(row.name, 20 if size.narrow else 28)
        words += "" if size.narrow else f" {found.words(at.value)}{quality}"
        made = axes.annotate(
            words, (at.value, 0), (moved - place - 4, 8), xycoords=("data", "axes fraction"), rotation=90,
            textcoords="offset points", rotation_mode="anchor", color=OTHER, fontsize=12,
        )  # fmt: skip
        made.set_in_layout(False)


def _intervals(found: Standings) -> str:
    return "the band of the prediction" if found.word else "95 % intervals"


def _caption(result: SearchResult, found: Standings) -> str:
    parts = [f"Bars are {_intervals(found)}, broken lines dense engines, numbers those of the tables below."]
    if found.word:
        parts.append("Every latency is predicted, none was measured.")
    elif found.unit == "×":
        parts.append(f"Each latency is over that of {result.reference}, the two measured side by side.")
    if any(one.final for one in found.candidates):
        parts.append(
            "The diamond is the chosen model in the end, trained and compiled, as in the table above; the others are"
            " candidates after brief training, their quality on validation data."
        )
    seen = [t.quality for t in trials(result) if t.latency is None and t.quality is not None]
    if seen:
        parts.append(
            f"{len(seen)} trials, of quality {min(seen):.3g} to {max(seen):.3g}, were evaluated without training and"
            " not measured; those within the picture are short lines at the left edge."
        )
    return " ".join(parts)
