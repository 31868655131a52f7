"""The candidates of a search that a report shows: those measured, those fitted to a latency, and the trials."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from l0compile.studies.result import BAND, Candidate, Latency, SearchResult, collapsed

SEARCHED = ("weight", "tilt", "density")
"""Kinds of searched values: the first part of a name such as ``weight.ffn``."""


def measured(result: SearchResult) -> list[tuple[Candidate, Latency, float]]:
    """Return each candidate with a latency and a quality, beside these two, in order of latency."""
    found = [(c, c.latency, c.quality) for c in result.candidates if c.latency and c.quality is not None]
    return sorted(found, key=lambda item: (item[1].median_ms, item[0].number))


def trials(result: SearchResult) -> list[Candidate]:
    """Return the candidates that were evaluated without being fitted to a latency."""
    return [c for c in result.candidates if c.outcome not in ("fitted", "failed") and c.quality is not None]


def with_layers(result: SearchResult) -> list[Candidate]:
    """Return the fitted candidates whose layers are known, the chosen one first, then in order of latency."""
    found = [c for c in result.candidates if c.layers and (c.chosen or c.outcome == "fitted")]
    return sorted(found, key=lambda c: (not c.chosen, c.latency.median_ms if c.latency else 0.0, c.number))


def searched(choices: Mapping[str, Any]) -> dict[str, float]:
    """Return the searched values among the choices of a candidate."""
    return {
        name: float(value)
        for name, value in choices.items()
        if name.partition(".")[0] in SEARCHED and isinstance(value, int | float)
    }


def origin(result: SearchResult, fitted: Candidate) -> int | None:
    """Return the number of the trial that a fitted candidate has its choices from; None if there is none."""
    wanted = searched(fitted.choices)
    if fitted.outcome != "fitted" or not wanted:
        return None
    return next((trial.number for trial in trials(result) if searched(trial.choices) == wanted), None)


def verdict(item: Candidate) -> tuple[float, str] | None:
    """Return measured over wanted latency, and that in words; None where one of the two is missing."""
    if item.latency is None or not item.wanted_ms:
        return None
    ratio = item.latency.median_ms / item.wanted_ms
    words = "too slow" if ratio > BAND[1] else "faster than needed" if ratio < BAND[0] else "met"
    return ratio, words


def note(item: Candidate) -> str:
    """Return what is known of a candidate, in one line."""
    parts = [f"#{item.number}", *(["chosen"] if item.chosen else [])]
    parts += [str(item.latency)] if item.latency else []
    parts += [f"quality {item.quality:.4g}"] if item.quality is not None else []
    parts += [f"budget {item.wanted_ms:.3g} ms"] if item.wanted_ms else []
    parts += [f"predicted {item.predicted_ms:.3g} ms"] if item.predicted_ms else []
    return ", ".join(parts)


def measured_table(result: SearchResult) -> tuple[list[str], list[tuple[Candidate, list[str]]]]:
    """Return titles, and for each measured candidate a text under each title.

    A column is left out where no candidate has a value for it.
    """
    found = [(item, _cells(result, item, latency, quality)) for item, latency, quality in measured(result)]
    titles = [
        title
        for title in dict.fromkeys(t for _, row in found for t in row)
        if any(r[title] for _, r in found)
    ]
    return titles, [(item, [row[title] or "–" for title in titles]) for item, row in found]


def _cells(result: SearchResult, item: Candidate, latency: Latency, quality: float) -> dict[str, str]:
    """Title -> what the table says of a candidate, empty where it is not known."""
    source, found, predicted = origin(result, item), verdict(item), item.predicted_ms
    return {
        "candidate": f"#{item.number}",
        "of trial": "" if source is None else f"#{source}",
        "wanted, ms": "" if item.wanted_ms is None else f"{item.wanted_ms:.3f}",
        **_times_of(latency, found),
        "budget": found[1] if found else "",
        **_before(latency, predicted),
        "quality": f"{quality:.4f}",
        "precision": _precisions(item),
        "rounds of training": str(item.rounds or ""),
        "result": _standing(result, item),
    }


def _times_of(latency: Latency, found: tuple[float, str] | None) -> dict[str, str]:
    """What was measured, or is predicted where there is no device, and its ratio to what was wanted."""
    titles = ("measured, ms", "95 % interval", "measured / wanted")
    if latency.predicted:
        titles = ("predicted latency, ms", "band", "predicted / wanted")
    interval = f"{latency.word}{latency.low_ms:.3f} to {latency.high_ms:.3f}"
    cells = (f"{latency.word}{latency.median_ms:.3f}", interval, f"{found[0]:.3f}" if found else "")
    return dict(zip(titles, cells, strict=True))


def _before(latency: Latency, predicted: float | None) -> dict[str, str]:
    """What the costs of kernels predicted before a model was measured."""
    if latency.predicted or predicted is None:
        return {"predicted, ms": "", "predicted / measured": ""}
    return {
        "predicted, ms": f"{predicted:.3f}",
        "predicted / measured": f"{predicted / latency.median_ms:.3f}",
    }


def _precisions(item: Candidate) -> str:
    """Say how many layers have each precision; nothing if all are float32."""
    counts = Counter(layer[2] if len(layer) > 2 else "float32" for layer in item.layers.values())
    found = (f"{precision} in {count}" for precision, count in counts.most_common())
    return ", ".join(found) if set(counts) - {"float32"} else ""


def _standing(result: SearchResult, item: Candidate) -> str:
    dense = next((row.quality for row in result.rows if row.dense and row.quality is not None), None)
    lost = dense is not None and item.quality is not None and collapsed(item.quality, dense)
    words = "chosen, before its training" if item.chosen else "Pareto front" if item.front else ""
    return f"{words}; quality collapsed".lstrip("; ") if lost else words
