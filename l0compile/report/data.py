"""The facts that a report shows, as plain values that JSON can hold."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l0compile.errors import DataError
from l0compile.records import Region


@dataclass(frozen=True)
class Latency:
    """Milliseconds: the median and its 95 % interval."""

    median_ms: float
    low_ms: float
    high_ms: float

    def __str__(self) -> str:
        return f"{self.median_ms:.3g} ms [{self.low_ms:.3g}, {self.high_ms:.3g}]"


@dataclass(frozen=True)
class Row:
    """One line of the comparison: an engine running a model.

    ``latency`` is None for an engine that could not run, and ``note`` says why; ``quality`` is None where it was not
    evaluated. ``dense`` is False for the models that the search made.
    """

    name: str
    latency: Latency | None
    quality: float | None
    dense: bool = True
    note: str = ""


@dataclass(frozen=True)
class Candidate:
    """One trial of the search.

    ``choices`` are the searched values by name (density, block shapes). ``quality`` is None when no training was
    paid for, ``latency`` is None when there was nothing to measure. ``outcome`` is one word or two for the table:
    "trained", "too slow", "failed". ``front``: no other candidate is both faster and better.
    """

    number: int
    choices: Mapping[str, Any]
    outcome: str
    latency: Latency | None = None
    quality: float | None = None
    front: bool = False
    chosen: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    ``quality_name`` labels the quality axis ("Spearman against the dense model, held-out text"); higher is better.
    ``reference`` is the name of the row that speed-ups are relative to. ``facts`` (machine, protocol, versions, text
    source, ...) are shown as they are, by group.
    """

    title: str
    quality_name: str
    rows: tuple[Row, ...]
    reference: str
    candidates: tuple[Candidate, ...]
    regions: tuple[Region, ...]
    budget_ms: float | None = None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def speedup(self, row: Row) -> float | None:
        """How many times faster ``row`` is than the reference row (medians); None when either was not measured."""
        times = {other.name: other.latency.median_ms for other in self.rows if other.latency is not None}
        if self.reference not in times or row.latency is None:
            return None
        return times[self.reference] / row.latency.median_ms

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a number that is not finite becomes null, because JSON has none."""
        plain: dict[str, Any] = _finite(dataclasses.asdict(self))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Report":
        """Inverse of ``to_dict`` after a way through JSON. Raises ``DataError`` for missing or unknown keys."""
        try:
            return cls(
                **{
                    **data,
                    "rows": tuple(
                        Row(**{**row, "latency": _latency(row["latency"])}) for row in data["rows"]
                    ),
                    "candidates": tuple(_candidate(item) for item in data["candidates"]),
                    "regions": restore_regions(data["regions"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise DataError(
                f"report: the stored result does not fit this version: {error}; run the search again"
            ) from error


def read_report(file: Path) -> Report:
    """The report stored in the JSON ``file``. Raises ``DataError`` when it is missing or unreadable."""
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{file}: not found; expected the output folder of a finished `l0compile search`"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{file}: expected a JSON object, got {type(loaded).__name__}")
    return Report.from_dict(loaded)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _candidate(item: Mapping[str, Any]) -> Candidate:
    return Candidate(**{**item, "latency": _latency(item["latency"])})


def _latency(item: Mapping[str, Any] | None) -> Latency | None:
    return None if item is None else Latency(**item)


def restore_regions(items: Iterable[Mapping[str, Any]]) -> tuple[Region, ...]:
    """Regions from JSON, such as those of an artifact's manifest. Raises ``DataError`` if they do not fit."""
    try:
        return tuple(Region.from_json(item) for item in items)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"regions: the stored regions do not fit this version: {error}; compile again"
        ) from error
