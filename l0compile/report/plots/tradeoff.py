"""What was measured, latency against quality, as a picture inside the page; `front` draws the same as a file."""

from l0compile.report.pages.fitted import note, trials
from l0compile.report.pages.markup import Markup, tag
from l0compile.report.plots.canvas import shortened
from l0compile.report.plots.colours import CHOSEN, FRONT, OTHER, TRIAL, swatch
from l0compile.report.plots.places import Place, Places, places
from l0compile.report.plots.scale import Scale, spread
from l0compile.report.plots.svg import Size, axes, dot, figure, line, path, text
from l0compile.studies.result import SearchResult


def tradeoff(result: SearchResult) -> Markup:
    """Every measured candidate with its interval, the front, the budget and the dense engines."""
    found = places(result)
    if not found.points:
        return tag("p", "No candidate was both measured and trained.")
    front = sum(place.item.front for place in found.points)
    chosen = [
        f"; the chosen one takes {found.words(place.at.value)} at {place.quality:.3g}"
        for place in found.points
        if place.item.chosen
    ]
    budget = f", with a budget of {found.words(found.budget)}" if found.budget is not None else ""
    label = (
        f"{result.quality_name} over {found.title} of {len(found.points)} measured candidates{budget}: {front} on the "
        f"Pareto front{chosen[0] if chosen else ''}. The tables above and below have the numbers."
    )
    return figure(lambda size: _drawing(result, found, size), label, *_caption(result, found))


def _drawing(result: SearchResult, found: Places, size: Size) -> list[Markup]:
    x, y = _scales(found, size)
    title = shortened(result.quality_name, 46 if size.narrow else 110)
    across = found.title if not size.narrow else shortened(found.title, 44)
    parts = axes(x, y, f"{across}, logarithmic" if not size.narrow else across, title, size)
    parts += _engines(found, x, y, size)
    if found.budget is not None:
        place = x(found.budget)
        parts.append(line(place, y.start, place, y.end, class_="budget"))
        # Quick and good is the corner that stays empty; near the edge there is no room for words.
        side, anchor = (-5, "end") if place - x.start > 110 else (5, "start")
        words = f"budget {found.words(found.budget)}"
        parts.append(text(place + side, y.end + 12, words, anchor, class_="strong halo"))
    for trial in trials(result):
        if trial.latency is None and trial.quality is not None and y.holds(trial.quality):
            height = y(trial.quality)
            parts.append(line(x.start, height, x.start + 14, height, class_="rug", style=f"stroke:{TRIAL}"))
    steps: list[tuple[float, float]] = []
    for point in found.front:
        steps += [(x(point.at.value), steps[-1][1])] if steps else []
        steps.append((x(point.at.value), y(point.quality)))
    if len(steps) > 1:
        parts.append(path(steps, class_="front", style=f"stroke:{FRONT}"))
    heights = spread([y(point.quality) for point in found.points], 14, y.end + 14, y.start)
    for point, height in zip(found.points, heights, strict=True):
        parts += _mark(point, found, x, y, height)
    return parts


def _scales(found: Places, size: Size) -> tuple[Scale, Scale]:
    times = [end for point in found.points for end in (point.at.low, point.at.high)]
    times += [at.value for _, at in found.engines]
    times += [found.budget] if found.budget is not None else []
    qualities = [point.quality for point in found.points]
    x = Scale.around(times, 46, size.width - 14, log=True)
    return x, Scale.around(qualities, size.height - 48, 34, margin=0.15)


def _mark(point: Place, found: Places, x: Scale, y: Scale, height: float) -> list[Markup]:
    item = point.item
    colour = CHOSEN if item.chosen else FRONT if item.front else OTHER
    shape = "diamond" if item.chosen else "disc" if item.front else "ring"
    low, high, place, middle = x(point.at.low), x(point.at.high), y(point.quality), x(point.at.value)
    words = note(item)
    if point.final:
        latency = found.words(point.at.value)
        words = f"#{item.number}, chosen, trained and compiled: {latency}, quality {point.quality:.4g}"
    return [
        line(low, place, high, place, class_="whisker", style=f"stroke:{colour}"),
        *(
            line(end, place - 4, end, place + 4, class_="whisker", style=f"stroke:{colour}")
            for end in (low, high)
        ),
        dot(middle, place, colour, words, shape),
        text(max(high, middle + 8) + 4, height - 5, f"#{item.number}", style=f"fill:{colour}", class_="halo"),
    ]


def _engines(found: Places, x: Scale, y: Scale, size: Size) -> list[Markup]:
    lines: list[Markup] = []
    words: list[Markup] = []
    labels = spread([x(at.value) - 5 for _, at in found.engines], 15, x.start + 12, x.end)
    for (row, at), label in zip(found.engines, labels, strict=True):
        place, foot = x(at.value), y.start - 8
        name = shortened(row.name, 20 if size.narrow else 28)
        name += "" if size.narrow else f" {found.words(at.value)}"
        lines.append(line(place, y.start, place, y.end, class_="engine"))
        turn = f"rotate(-90 {label:.1f} {foot:.1f})"
        words.append(text(label, foot, name, transform=turn, class_="faint halo"))
    return [*lines, *words]


def _caption(result: SearchResult, found: Places) -> list[object]:
    parts: list[object] = []
    chosen = [point for point in found.points if point.item.chosen]
    if chosen:
        parts += [swatch(CHOSEN), "chosen (diamond). "]
    if any(p.item.front and not p.item.chosen for p in found.points):
        parts += [swatch(FRONT), "on the Pareto front (disc). "]
    if any(not p.item.front and not p.item.chosen for p in found.points):
        parts += [swatch(OTHER), "other (ring). "]
    parts.append("Bars are 95 % intervals, broken lines dense engines, numbers those of the tables below.")
    if found.unit == "×":
        parts.append(f" Each latency is over that of {result.reference}, the two measured side by side.")
    if any(point.final for point in chosen):
        parts.append(
            " The diamond is the chosen model in the end, trained and compiled, as in the table above; the others are"
            " candidates after brief training, their quality on validation data."
        )
    seen = [t.quality for t in trials(result) if t.latency is None and t.quality is not None]
    if seen:
        y = _scales(found, Size(100, 100))[1]
        inside = sum(y.holds(quality) for quality in seen)
        where = f"; {inside} of their qualities are short lines at the left edge, the others are outside the picture"
        parts.append(
            f" {len(seen)} trials, of {min(seen):.3g} to {max(seen):.3g}, were evaluated without training and not"
            f" measured{where if inside else ''}."
        )
    return parts
