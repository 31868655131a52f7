"""What a search leaves behind, as frozen dataclasses that survive JSON unchanged."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from l0compile.errors import DataError, StorageError
from l0compile.ir.codec import decode, encode
from l0compile.ir.records import Region
from l0compile.measurement import Measurement, Ratio

RESULT = "result.json"
"""The name of the file that a search leaves in its output folder."""

PHASE_SECONDS = "seconds of each phase"
"""The fact that tells where the time went."""

BAND = (0.9, 1.03)
"""A latency within these shares of the budget meets it: slower misses it, faster gives away quality."""

_LOST = 0.5
"""A model that has lost more than this share of the dense model's quality is useless, however fast."""


@dataclass(frozen=True)
class Latency:
    """A latency in milliseconds: the median and its 95 % interval.

    predicted: nobody has measured it, and the interval is the band of the model that predicts it.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    predicted: bool = False

    def __str__(self) -> str:
        return f"{self.word}{self.median_ms:.3g} ms [{self.low_ms:.3g}, {self.high_ms:.3g}]"

    @property
    def short(self) -> str:
        """The median alone."""
        return f"predicted {self.median_ms:.3g} ms" if self.predicted else f"{self.median_ms:.2f} ms"

    @property
    def word(self) -> str:
        """What stands before each number of it: "predicted ", or nothing if it was measured."""
        return "predicted " if self.predicted else ""

    @classmethod
    def of(cls, measurement: Measurement) -> "Latency | None":
        """Convert a measurement; None if it failed."""
        if not measurement.ok:
            return None
        return cls(measurement.median_ms, measurement.low_ms, measurement.high_ms, measurement.predicted)


@dataclass(frozen=True)
class Row:
    """One line of the final table.

    quality: on held-out data. dense: whether the model is the dense one. note: why an engine could not run. speedup:
    over the reference row, compared block by block so that slow phases of the machine cancel out; None if one of both
    was not measured. precision: of the linear layers, those of most layers first.
    """

    name: str
    latency: Latency | None
    quality: float | None
    dense: bool = True
    note: str = ""
    speedup: Ratio | None = None
    precision: str = "float32"


CandidateOutcome = Literal["one-shot", "fitted", "failed"]


@dataclass(frozen=True)
class Candidate:
    """One candidate.

    choices: the searched values by name, and under "live" the share of the gated layers' multiplications that are
    left. outcome: "one-shot" for a trial, "fitted" for a model that was measured and briefly trained, or "failed".
    quality: on validation data. front: no other candidate is faster and better, and the quality has not collapsed.
    chosen: it became the artifact. error: why it failed. layers: gated layer -> [block shape or None, density], and
    the precision if it is not float32.
    wanted_ms: the latency it was fitted to. predicted_ms: the latency that the costs of kernels predicted. rounds: of
    brief training before ``quality``. load: the latency over the search's budget, with its interval.
    """

    number: int
    choices: Mapping[str, Any]
    outcome: CandidateOutcome
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
    """The verdict on one constraint: what the space asks of the chosen model, and what was found, in words.

    kind: of the constraint, such as "latency"; "" in results of earlier versions.
    """

    what: str
    found: str
    met: bool
    kind: str = ""

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED'}: {self.what}: {self.found}"


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    rows: the dense engines and the chosen model, each timed in a process of its own. reference: the row that
    speed-ups refer to. candidates: every trial in order, then the finalists. regions: of the chosen model. budget_ms:
    the latency budget. facts: for people, by group. asked: what the space asks for, against the final measurement.
    budget_ratio: the budget over the latency of the reference, if it was given so.
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
    def predicted(self) -> bool:
        """Whether its latencies are predicted: no device of the target was there."""
        return any(row.latency is not None and row.latency.predicted for row in self.rows)

    @property
    def warning(self) -> str | None:
        """A warning if the quality of the chosen model has collapsed, even if it meets the requirements; else None."""
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
        """Return the row called ``name``.

        Raises:
            DataError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise DataError(f"search result: no row {name!r}; it has {', '.join(row.name for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a number that is not finite becomes null."""
        plain: dict[str, Any] = _finite(encode(self))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchResult":
        """Return the result that `to_dict` wrote.

        Raises:
            StorageError: it is malformed, or of another version.
        """
        return decode(data, cls, "search result", advice="run the search again")

    def save(self, file: Path) -> None:
        """Write the result as JSON, completely or not at all."""
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        draft.replace(file)

    @classmethod
    def load(cls, file: Path) -> "SearchResult":
        """What `save` wrote. Raises StorageError when it is missing or unreadable."""
        try:
            loaded = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StorageError(
                f"{file}: not found; expected the output folder of a finished `l0compile search`"
            ) from None
        except (OSError, ValueError) as error:
            raise StorageError(f"{file}: can't be read as a search result: {error}") from error
        if not isinstance(loaded, dict):
            raise StorageError(f"{file}: expected a JSON object, got {type(loaded).__name__}")
        return cls.from_dict(loaded)


def collapsed(quality: float, dense: float) -> bool:
    """Whether a model has lost so much of the dense model's quality that it is useless."""
    return dense - quality > _LOST * abs(dense)


def mark_front(candidates: tuple[Candidate, ...], dense: float | None = None) -> tuple[Candidate, ...]:
    """Set ``front`` on every fitted candidate that no other fitted one beats in latency and quality.

    Loads are compared if they are known of all candidates, because milliseconds of different minutes don't compare.

    Args:
        candidates: of a search.
        dense: quality of the dense model, to leave out candidates whose quality has collapsed.
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


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
