"""What a search leaves behind, as frozen values that go through JSON unchanged."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l0compile.errors import DataError
from l0compile.ir.records import Region
from l0compile.measurement import Measurement, Ratio

RESULT = "result.json"
"""Name of the file that a search leaves in its output folder."""

BAND = (0.9, 1.03)
"""A budget is met by a latency of this share of it: slower misses it, quicker gives away quality."""

_LOST = 0.5
"""A model that has lost more than this share of the dense model's quality is no use, however quick."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds: the median and its 95 % interval."""

    median_ms: float
    low_ms: float
    high_ms: float

    def __str__(self) -> str:
        return f"{self.median_ms:.3g} ms [{self.low_ms:.3g}, {self.high_ms:.3g}]"

    @classmethod
    def of(cls, measurement: Measurement) -> "Latency | None":
        """None for a failed measurement."""
        if not measurement.ok:
            return None
        return cls(measurement.median_ms, measurement.low_ms, measurement.high_ms)


@dataclass(frozen=True)
class Row:
    """One line of the final comparison. `note` says why an engine could not run.

    `quality` is on held-out data. `speedup`: how many times as fast as the reference row, block by block, so that what
    slowed the whole machine for a while cancels out; None where one of the two was not measured.
    """

    name: str
    latency: Latency | None
    quality: float | None
    dense: bool = True
    note: str = ""
    speedup: Ratio | None = None


@dataclass(frozen=True)
class Candidate:
    """One candidate. `outcome`: "one-shot" (a trial, not trained or measured), "fitted" (to a latency, measured, and
    trained briefly), or "failed".

    `choices`: the searched values by name, and under "live" the share of the gated layers' multiplications that
    they leave. `quality` is on validation data. `front`: no other candidate is both faster and better, and the quality
    has not collapsed. `error`: why it failed. `layers`: gated layer -> [block shape or None, density]. `wanted_ms`,
    `predicted_ms`: the latency that it was fitted to, and what the costs of kernels predicted. `rounds`: of brief
    training before `quality`. `load`: the latency over the search's budget, with its interval, against the budget's
    reference measured beside it.
    """

    number: int
    choices: Mapping[str, Any]
    outcome: str
    latency: Latency | None = None
    quality: float | None = None
    front: bool = False
    chosen: bool = False
    error: str | None = None
    layers: Mapping[str, Any] = field(default_factory=dict)
    wanted_ms: float | None = None
    predicted_ms: float | None = None
    rounds: int = 0
    load: Ratio | None = None


@dataclass(frozen=True)
class Requirement:
    """Something that was asked of the chosen model, and what was found in the end, both in words.

    kind: "latency", "quality", "size", or "" in a result of an earlier version.
    """

    what: str
    found: str
    met: bool
    kind: str = ""

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED'}: {self.what}: {self.found}"


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    `rows`: dense engines and the chosen model, latency measured in processes of their own, quality on held-out
    data; `reference` is the row that speed-ups are relative to. `candidates`: every trial in order. `regions`: of
    the chosen model, empty if no candidate met the budget. `facts`: by group, for people. `asked`: what the space
    asks for, against the final measurement. `budget_ratio`: the budget over the latency of the reference row, where it
    was asked for so.
    """

    title: str
    quality_name: str
    rows: tuple[Row, ...]
    reference: str
    candidates: tuple[Candidate, ...]
    regions: tuple[Region, ...]
    budget_ms: float | None = None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    asked: tuple[Requirement, ...] = ()
    budget_ratio: float | None = None

    @property
    def warning(self) -> str | None:
        """What is wrong with the chosen model although it may be what was asked for: its quality has collapsed."""
        chosen = next((row.quality for row in self.rows if not row.dense), None)
        dense = next((row.quality for row in self.rows if row.dense and row.quality is not None), None)
        if chosen is None or dense is None or not collapsed(chosen, dense):
            return None
        return (
            f"the quality has collapsed: {chosen:.4g}, of {dense:.4g} of the dense model; allow more time, train for "
            "longer, or prune fewer layers"
        )

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that became the artifact."""
        return next((candidate for candidate in self.candidates if candidate.chosen), None)

    def row(self, name: str) -> Row:
        """The row called `name`. Raises DataError if there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise DataError(f"search result: no row {name!r}; it has {', '.join(row.name for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a number that is not finite becomes null."""
        plain: dict[str, Any] = _finite(dataclasses.asdict(self))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchResult":
        """Inverse of `to_dict` after a way through JSON. Raises DataError for missing or unknown keys."""
        try:
            return cls(
                **{
                    **data,
                    "rows": tuple(_row(row) for row in data["rows"]),
                    "candidates": tuple(_candidate(item) for item in data["candidates"]),
                    "regions": tuple(Region.from_json(item) for item in data["regions"]),
                    "asked": tuple(Requirement(**item) for item in data.get("asked", ())),
                }
            )
        except (KeyError, TypeError) as error:
            raise DataError(
                f"search result: does not fit this version: {error}; run the search again"
            ) from error

    def save(self, file: Path) -> None:
        """Write as JSON, whole or not at all."""
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        draft.replace(file)

    @classmethod
    def load(cls, file: Path) -> "SearchResult":
        """What `save` wrote. Raises DataError when it is missing or unreadable."""
        try:
            loaded = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(
                f"{file}: not found; expected the output folder of a finished `l0compile search`"
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: can't be read as a search result: {error}") from error
        if not isinstance(loaded, dict):
            raise DataError(f"{file}: expected a JSON object, got {type(loaded).__name__}")
        return cls.from_dict(loaded)


def collapsed(quality: float, dense: float) -> bool:
    """Whether a model has lost so much of the dense model's quality that it is no use."""
    return dense - quality > _LOST * abs(dense)


def mark_front(candidates: tuple[Candidate, ...], dense: float | None = None) -> tuple[Candidate, ...]:
    """The candidates with `front` set on every fitted one that no other fitted one beats in latency and quality.

    dense: the dense model's quality, to leave those out whose own has collapsed. Latencies are compared over the budget
    where that is known of all: milliseconds of different minutes do not compare.
    """
    fitted = [c for c in candidates if _is_point(c) and c.latency and c.quality is not None]
    loads = all(c.load is not None for c in fitted)
    points = [
        (c, c.load.value if loads and c.load else c.latency.median_ms, c.quality)
        for c in fitted
        if c.latency and c.quality is not None and not (dense is not None and collapsed(c.quality, dense))
    ]

    def beaten(ms: float, quality: float) -> bool:
        return any((a <= ms and b >= quality) and (a < ms or b > quality) for _, a, b in points)

    front = {c.number for c, ms, quality in points if not beaten(ms, quality)}
    return tuple(dataclasses.replace(c, front=c.number in front) for c in candidates)


def _is_point(candidate: Candidate) -> bool:
    return candidate.outcome == "fitted"


def _with_latency(kind: Any, data: Mapping[str, Any]) -> Any:
    latency = data["latency"]
    return kind(**{**data, "latency": None if latency is None else Latency(**latency)})


def _row(data: Mapping[str, Any]) -> Row:
    row: Row = _with_latency(Row, _with_ratio(data, "speedup"))
    return row


def _candidate(data: Mapping[str, Any]) -> Candidate:
    found: Candidate = _with_latency(Candidate, _with_ratio(data, "load"))
    return found


def _with_ratio(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    plain = {key: None, **data}
    found = plain[key]
    return {**plain, key: None if found is None else Ratio(**found)}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
