"""Measured latency against what was wanted, and against what was predicted: on the diagonal the two are the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from l0compile.report.pages.fitted import note, verdict
from l0compile.report.pages.markup import Markup
from l0compile.report.plots.colours import CHOSEN, FRONT
from l0compile.report.plots.scale import Scale, spread
from l0compile.report.plots.svg import HALF, Size, axes, dot, figure, line, path, text
from l0compile.studies.result import BAND, Candidate, Latency, SearchResult


@dataclass(frozen=True)
class Pair:
    """A candidate with what was said of its latency before, in ms, and the latency."""

    item: Candidate
    said_ms: float
    latency: Latency


def budgets(result: SearchResult) -> Markup | None:
    """Wanted against measured latency with the band in which a budget is met; None where nothing was fitted to one."""
    pairs = [Pair(c, c.wanted_ms, c.latency) for c in result.candidates if c.wanted_ms and c.latency]
    if not pairs:
        return None
    found = [ratio for pair in pairs if (ratio := verdict(pair.item))]
    met = sum(words == "met" for _, words in found)
    low, high = min(ratio for ratio, _ in found), max(ratio for ratio, _ in found)
    said = f"{met} of {len(pairs)} candidates met their budget, with {low:.3f} to {high:.3f} of it"
    below, above = 100 - 100 * BAND[0], 100 * BAND[1] - 100
    caption = (
        f"{said}. The shaded band, from {below:.0f} % below to {above:.0f} % above, is where it is met. A budget"
        " relative to an engine is checked beside that engine, timed in the same minute; how the speed of the"
        " machine drifts from minute to minute is in these milliseconds."
    )
    return figure(
        lambda size: _drawing(pairs, "wanted, ms", BAND, size),
        f"Measured over wanted latency: {said}.",
        caption,
        sizes=(HALF,),
    )


def predictions(result: SearchResult) -> Markup | None:
    """Predicted against measured latency; None where nothing was predicted."""
    pairs = [Pair(c, c.predicted_ms, c.latency) for c in result.candidates if c.predicted_ms and c.latency]
    if not pairs:
        return None
    said = error_in_words(pairs)
    caption = f"{said}. Above the line: slower than predicted. Each was predicted before it was compiled."
    return figure(
        lambda size: _drawing(pairs, "predicted, ms", None, size),
        f"Measured over predicted latency: {said}.",
        caption,
        sizes=(HALF,),
    )


def error_in_words(pairs: Iterable[Pair]) -> str:
    """How far predictions were off, over the measured latency."""
    errors = [abs(pair.said_ms / pair.latency.median_ms - 1.0) for pair in pairs]
    if len(errors) == 1:
        return f"The prediction of one candidate was {100 * errors[0]:.1f} % off"
    worst = f"{100 * max(errors):.1f} % at most"
    return f"Predictions of {len(errors)} candidates were {100 * median(errors):.1f} % off in the median, {worst}"


def _drawing(pairs: list[Pair], title: str, band: tuple[float, float] | None, size: Size) -> list[Markup]:
    times = [p.said_ms for p in pairs]
    times += [ms for p in pairs for ms in (p.latency.median_ms, p.latency.low_ms, p.latency.high_ms)]
    x = Scale.around(times, 46, size.width - 14, log=True, margin=0.15)
    y = Scale(x.low, x.high, size.height - 48, 34, log=True)
    parts = axes(x, y, title, "measured, ms", size)
    if band is not None:
        parts.insert(0, path([(x(a), y(b)) for a, b in _corners(x.low, x.high, band)], True, class_="band"))
    parts.append(line(x(x.low), y(y.low), x(x.high), y(y.high), class_="diagonal"))
    heights = spread([y(p.latency.median_ms) for p in pairs], 14, y.end + 6, y.start - 6)
    for pair, height in zip(pairs, heights, strict=True):
        colour = CHOSEN if pair.item.chosen else FRONT
        shape = "diamond" if pair.item.chosen else "disc"
        place, ms = x(pair.said_ms), y(pair.latency.median_ms)
        low, high = y(pair.latency.low_ms), y(pair.latency.high_ms)
        parts.append(line(place, low, place, high, class_="whisker", style=f"stroke:{colour}"))
        parts.append(dot(place, ms, colour, note(pair.item), shape))
        words = f"#{pair.item.number}"
        parts.append(text(place + 12, height + 4, words, style=f"fill:{colour}", class_="halo"))
    return parts


def _corners(low: float, high: float, band: tuple[float, float]) -> list[tuple[float, float]]:
    """The part of the square ``low``..``high`` in which the second number is between ``band`` times the first."""
    below, above = band
    return [
        (low, low), (low, above * low), (high / above, high), (high, high), (high, below * high), (low / below, low),
    ]  # fmt: skip
