"""What was measured, latency against quality, as a picture inside the page; `front` draws the same as a file."""

from l0compile.report.canvas import shortened
from l0compile.report.colours import CHOSEN, FRONT, OTHER, TRIAL, swatch
from l0compile.report.fitted import Point, measured, note, trials
from l0compile.report.markup import Markup, tag
from l0compile.report.scale import Scale, spread
from l0compile.report.svg import Size, axes, dot, figure, line, path, text
from l0compile.result import Latency, Row, SearchResult


def tradeoff(result: SearchResult) -> Markup:
    """Every measured candidate with its interval, the front, the budget and the dense engines."""
    points = measured(result)
    if not points:
        return tag("p", "No candidate was both measured and trained.")
    front = sum(item.front for item, _, _ in points)
    chosen = [
        f"; the chosen one takes {latency} at {quality:.3g}" for c, latency, quality in points if c.chosen
    ]
    budget = f", with a budget of {result.budget_ms:.3g} ms" if result.budget_ms is not None else ""
    label = (
        f"{result.quality_name} over latency of {len(points)} measured candidates{budget}: {front} on the Pareto front"
        f"{chosen[0] if chosen else ''}. The table below has the numbers."
    )
    return figure(lambda size: _drawing(result, points, size), label, *_caption(result, points))


def _drawing(result: SearchResult, points: list[Point], size: Size) -> list[Markup]:
    x, y = _scales(result, points, size)
    title = shortened(result.quality_name, 46 if size.narrow else 110)
    parts = axes(x, y, "latency in ms, logarithmic", title, size)
    parts += _engines(result, x, y, size)
    if result.budget_ms is not None:
        place = x(result.budget_ms)
        parts.append(line(place, y.start, place, y.end, class_="budget"))
        # Quick and good is the corner that stays empty; near the edge there is no room for words.
        side, anchor = (-5, "end") if place - x.start > 110 else (5, "start")
        words = f"budget {result.budget_ms:.3g} ms"
        parts.append(text(place + side, y.end + 12, words, anchor, class_="strong"))
    for trial in trials(result):
        if trial.latency is None and trial.quality is not None and y.holds(trial.quality):
            height = y(trial.quality)
            parts.append(line(x.start, height, x.start + 14, height, class_="rug", style=f"stroke:{TRIAL}"))
    steps: list[tuple[float, float]] = []
    for _, latency, quality in sorted((p for p in points if p[0].front), key=lambda p: p[1].median_ms):
        steps += [(x(latency.median_ms), steps[-1][1])] if steps else []
        steps.append((x(latency.median_ms), y(quality)))
    if len(steps) > 1:
        parts.append(path(steps, class_="front", style=f"stroke:{FRONT}"))
    heights = spread([y(quality) for _, _, quality in points], 14, y.end + 14, y.start)
    for point, height in zip(points, heights, strict=True):
        parts += _mark(point, x, y, height)
    return parts


def _scales(result: SearchResult, points: list[Point], size: Size) -> tuple[Scale, Scale]:
    times = [ms for _, latency, _ in points for ms in (latency.low_ms, latency.high_ms)]
    times += [latency.median_ms for _, latency in _dense(result)]
    times += [result.budget_ms] if result.budget_ms is not None else []
    qualities = [quality for _, _, quality in points]
    x = Scale.around(times, 46, size.width - 14, log=True)
    return x, Scale.around(qualities, size.height - 48, 34, margin=0.15)


def _mark(point: Point, x: Scale, y: Scale, height: float) -> list[Markup]:
    item, latency, quality = point
    colour = CHOSEN if item.chosen else FRONT if item.front else OTHER
    shape = "diamond" if item.chosen else "disc" if item.front else "ring"
    low, high, place = x(latency.low_ms), x(latency.high_ms), y(quality)
    return [
        line(low, place, high, place, class_="whisker", style=f"stroke:{colour}"),
        *(
            line(end, place - 4, end, place + 4, class_="whisker", style=f"stroke:{colour}")
            for end in (low, high)
        ),
        dot(x(latency.median_ms), place, colour, note(item), shape),
        text(
            max(high, x(latency.median_ms) + 8) + 4,
            height - 5,
            f"#{item.number}",
            style=f"fill:{colour}",
            class_="halo",
        ),
    ]


def _dense(result: SearchResult) -> list[tuple[Row, Latency]]:
    rows = [(row, row.latency) for row in result.rows if row.dense and row.latency is not None]
    return sorted(rows, key=lambda pair: pair[1].median_ms)


def _engines(result: SearchResult, x: Scale, y: Scale, size: Size) -> list[Markup]:
    lines: list[Markup] = []
    words: list[Markup] = []
    found = _dense(result)
    labels = spread([x(latency.median_ms) - 5 for _, latency in found], 15, x.start + 12, x.end)
    for (row, latency), label in zip(found, labels, strict=True):
        place, foot = x(latency.median_ms), y.start - 8
        name = shortened(row.name, 20 if size.narrow else 28)
        name += "" if size.narrow else f" {latency.median_ms:.3g} ms"
        lines.append(line(place, y.start, place, y.end, class_="engine"))
        turn = f"rotate(-90 {label:.1f} {foot:.1f})"
        words.append(text(label, foot, name, transform=turn, class_="faint halo"))
    return [*lines, *words]


def _caption(result: SearchResult, points: list[Point]) -> list[object]:
    parts: list[object] = []
    if any(item.chosen for item, _, _ in points):
        parts += [swatch(CHOSEN), "chosen (diamond) "]
    parts += [swatch(FRONT), "on the Pareto front (disc)"]
    if any(not item.front and not item.chosen for item, _, _ in points):
        parts += [swatch(OTHER), "other (ring)"]
    parts.append(". Bars are 95 % intervals, broken lines dense engines, numbers those of the tables below.")
    found = [t.quality for t in trials(result) if t.latency is None and t.quality is not None]
    if found:
        y = _scales(result, points, Size(100, 100))[1]
        inside = sum(y.holds(quality) for quality in found)
        where = f"; {inside} of their qualities are short lines at the left edge, the others are outside the picture"
        parts.append(
            f" {len(found)} trials, of {min(found):.3g} to {max(found):.3g}, were evaluated without training and not"
            f" measured{where if inside else ''}."
        )
    return parts
