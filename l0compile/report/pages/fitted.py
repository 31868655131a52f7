"""The candidates of a search that pictures show: those measured, those fitted to a latency, and the trials."""

from collections.abc import Mapping
from typing import Any

from l0compile.report.pages.markup import Markup, table, tag
from l0compile.studies.result import BAND, Candidate, Latency, SearchResult, collapsed

Point = tuple[Candidate, Latency, float]
"""A candidate that was both measured and trained, with its latency and quality."""

SEARCHED = ("weight", "tilt", "density")
"""Kinds of searched values: ``weight.ffn``."""


def measured(result: SearchResult) -> list[Point]:
    """What has a latency and a quality, in order of latency."""
    found = [(c, c.latency, c.quality) for c in result.candidates if c.latency and c.quality is not None]
    return sorted(found, key=lambda point: (point[1].median_ms, point[0].number))


def trials(result: SearchResult) -> list[Candidate]:
    """What was evaluated without being fitted to a latency."""
    return [c for c in result.candidates if c.outcome not in ("fitted", "failed") and c.quality is not None]


def in_layers(result: SearchResult) -> list[Candidate]:
    """Fitted candidates whose layers are known, the chosen one first, then in order of latency."""
    found = [c for c in result.candidates if c.layers and (c.chosen or c.outcome == "fitted")]
    return sorted(found, key=lambda c: (not c.chosen, c.latency.median_ms if c.latency else 0.0, c.number))


def searched(choices: Mapping[str, Any]) -> dict[str, float]:
    """The searched values among the choices of a candidate."""
    return {
        name: float(value)
        for name, value in choices.items()
        if name.partition(".")[0] in SEARCHED and isinstance(value, int | float)
    }


def origin(result: SearchResult, fitted: Candidate) -> int | None:
    """The number of the trial with the choices of a fitted candidate."""
    wanted = searched(fitted.choices)
    if fitted.outcome != "fitted" or not wanted:
        return None
    return next((trial.number for trial in trials(result) if searched(trial.choices) == wanted), None)


def verdict(item: Candidate) -> tuple[float, str] | None:
    """Measured over wanted latency, and what that is in words; None where one of them is missing."""
    if item.latency is None or not item.wanted_ms:
        return None
    ratio = item.latency.median_ms / item.wanted_ms
    words = "too slow" if ratio > BAND[1] else "quicker than needed" if ratio < BAND[0] else "met"
    return ratio, words


def note(item: Candidate) -> str:
    """One candidate in a line."""
    parts = [f"#{item.number}", *(["chosen"] if item.chosen else [])]
    parts += [str(item.latency)] if item.latency else []
    parts += [f"quality {item.quality:.4g}"] if item.quality is not None else []
    parts += [f"budget {item.wanted_ms:.3g} ms"] if item.wanted_ms else []
    parts += [f"predicted {item.predicted_ms:.3g} ms"] if item.predicted_ms else []
    return ", ".join(parts)


def fitted_table(result: SearchResult) -> Markup:
    """What was measured: wanted, measured and predicted latency with their ratios, and quality.

    A column without any value is left out.
    """
    points = measured(result)
    rows = [_cells(result, point) for point in points]
    known = [index for index in range(len(_TITLES)) if any(row[index] for row in rows)]
    lines = [
        tag(
            "tr",
            *(
                tag("td", row[index] or "–", class_="mark" if _TITLES[index] in _WORDS else "n")
                for index in known
            ),
            class_="chosen" if item.chosen else "",
        )
        for row, (item, _, _) in zip(rows, points, strict=True)
    ]
    return table(tuple(_TITLES[index] for index in known), lines)


_TITLES = (
    "candidate", "of trial", "wanted, ms", "measured, ms", "95 % interval", "measured / wanted", "budget",
    "predicted, ms", "predicted / measured", "quality", "rounds of training", "result",
)  # fmt: skip
_WORDS = ("budget", "result")


def _cells(result: SearchResult, point: Point) -> tuple[str, ...]:
    """What the table says of a candidate, by column; nothing where it is not known."""
    item, latency, quality = point
    source, found, predicted = origin(result, item), verdict(item), item.predicted_ms
    return (
        f"#{item.number}",
        "" if source is None else f"#{source}",
        "" if item.wanted_ms is None else f"{item.wanted_ms:.3f}",
        f"{latency.median_ms:.3f}",
        f"{latency.low_ms:.3f} to {latency.high_ms:.3f}",
        f"{found[0]:.3f}" if found else "",
        found[1] if found else "",
        "" if predicted is None else f"{predicted:.3f}",
        "" if predicted is None else f"{predicted / latency.median_ms:.3f}",
        f"{quality:.4f}",
        str(item.rounds or ""),
        _standing(result, item),
    )


def _standing(result: SearchResult, item: Candidate) -> str:
    dense = next((row.quality for row in result.rows if row.dense and row.quality is not None), None)
    lost = dense is not None and item.quality is not None and collapsed(item.quality, dense)
    words = "chosen, before its training" if item.chosen else "Pareto front" if item.front else ""
    return f"{words}; quality collapsed".lstrip("; ") if lost else words
