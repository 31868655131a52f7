"""What a paper found, ready to be shown: one row for each active fraction of each series."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from l0compile.calibration import (
    Calibration,
    accuracy,
    auroc,
    brier,
    calibration_of_logits,
    ece,
    fit_temperature,
    macro_f1,
    nll,
)
from l0compile.errors import StorageError
from l0compile.ir.codec import decode_json, encode
from l0compile.studies.paper.cell import Cell, cell_name, load_cell, load_logits
from l0compile.studies.paper.plan import PaperPlan, Series
from l0compile.studies.paper.timing import DENSE_ENGINES, PaperTiming, load_timings

PAPER = "paper.json"
SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": accuracy, "F1": macro_f1, "AUROC": auroc, "ECE": ece, "NLL": nll, "Brier": brier,
}  # fmt: skip
"""Name of a score -> the score of logits [N, classes] for labels [N]."""
COMPARED = 0.25
"""The active fraction whose scores are compared with those of the dense models, seed by seed."""


@dataclass(frozen=True)
class Spread:
    """The mean over seeds, and the standard deviation; 0 with one seed."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise the values of the seeds."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


@dataclass(frozen=True)
class PaperRow:
    """One active fraction of a series, or its dense model (fraction None), over the seeds.

    raw, scaled: name of a score -> its spread on held-out data, from the logits as they are, and divided by the
    temperature that fits validation data best. active: the achieved fraction, which is the same for all seeds. flips,
    largest: of the compiled model of seed 0. size: bytes of its artifact. timing: of it, if it was measured.
    """

    fraction: float | None
    active: float
    raw: dict[str, Spread]
    scaled: dict[str, Spread]
    temperature: Spread
    seconds: Spread
    flips: int | None
    largest: float | None
    size: int | None
    timing: PaperTiming | None


@dataclass(frozen=True)
class PaperTable:
    """All rows of a series.

    source: of the data. examples: held out. rows: the dense model first. engines: the dense
    model on other engines. difference: of each score at ``COMPARED`` from the dense model's, both with temperatures,
    seed by seed; empty where that fraction was not asked for. reports: of seed 0, dense and at ``COMPARED``, with
    bootstrap intervals over held-out examples.
    """

    name: str
    title: str
    note: str
    source: str
    examples: int
    rows: tuple[PaperRow, ...]
    engines: tuple[PaperTiming, ...]
    difference: dict[str, Spread]
    reports: tuple[Calibration, ...]


@dataclass(frozen=True)
class Paper:
    """Everything that the page shows. missing: series that could not run, and why. facts: for people."""

    tables: tuple[PaperTable, ...]
    seeds: int
    shorten: float
    missing: dict[str, str]
    facts: dict[str, str]

    def save(self, file: Path) -> None:
        """Write it as JSON, completely or not at all."""
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(json.dumps(encode(self), indent=1) + "\n", encoding="utf-8")
        draft.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Paper":
        """Return what ``save`` wrote.

        Raises:
            StorageError: the file is missing or malformed.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{file}: expected the result of a paper run, got {error.strerror}") from error
        return decode_json(text, cls, str(file))


@dataclass(frozen=True)
class _Scored:
    cell: Cell
    raw: dict[str, float]
    scaled: dict[str, float]
    temperature: float


def summarise(plan: PaperPlan, series: Series, folder: Path) -> PaperTable:
    """Read the cells of a series, score them, and put them into a table.

    Args:
        plan: seeds and fractions.
        series: which one.
        folder: of the cells.

    Raises:
        StorageError: a cell is missing or malformed.
    """
    task = series.load()
    labels = {part: task.labels(part) for part in ("validation", "held_out")}
    found = {
        fraction: [
            _scored(folder, cell_name(series.name, seed, fraction), labels) for seed in range(plan.seeds)
        ]
        for fraction in (None, *plan.fractions)
    }
    timings = {timing.name: timing for timing in load_timings(series, folder)}
    quarter = zip(found.get(COMPARED, ()), found[None], strict=False)
    pairs = [(gated.scaled, dense.scaled) for gated, dense in quarter]
    difference = {
        name: Spread.of([gated[name] - dense[name] for gated, dense in pairs]) for name in SCORES if pairs
    }
    return PaperTable(
        name=series.name,
        title=series.title,
        note=series.note,
        source=task.source,
        examples=len(labels["held_out"]),
        rows=tuple(_row(fraction, scored, timings) for fraction, scored in found.items()),
        engines=tuple(timing for timing in timings.values() if timing.name in DENSE_ENGINES),
        difference=difference,
        reports=_reports(plan, series, folder, labels),
    )


def _reports(
    plan: PaperPlan, series: Series, folder: Path, labels: Mapping[str, Tensor]
) -> tuple[Calibration, ...]:
    gated = {f"{COMPARED:.0%} of the features": COMPARED} if COMPARED in plan.fractions else {}
    logits = {
        name: load_logits(folder, cell_name(series.name, 0, fraction))
        for name, fraction in {"dense": None, **gated}.items()
    }
    found = calibration_of_logits(
        {name: (parts["validation"], parts["held_out"]) for name, parts in logits.items()},
        labels["validation"],
        labels["held_out"],
        baseline="dense",
    )
    return tuple(found.values())


def _scored(folder: Path, name: str, labels: Mapping[str, Tensor]) -> _Scored:
    logits = load_logits(folder, name)
    temperature = fit_temperature(logits["validation"], labels["validation"])
    raw, scaled = logits["held_out"], temperature.apply(logits["held_out"])
    return _Scored(
        load_cell(folder, name),
        {score: function(raw, labels["held_out"]) for score, function in SCORES.items()},
        {score: function(scaled, labels["held_out"]) for score, function in SCORES.items()},
        temperature.value,
    )


def _row(fraction: float | None, scored: Sequence[_Scored], timings: Mapping[str, PaperTiming]) -> PaperRow:
    first = scored[0].cell
    return PaperRow(
        fraction=fraction,
        active=statistics.fmean(one.cell.active for one in scored),
        raw={name: Spread.of([one.raw[name] for one in scored]) for name in SCORES},
        scaled={name: Spread.of([one.scaled[name] for one in scored]) for name in SCORES},
        temperature=Spread.of([one.temperature for one in scored]),
        seconds=Spread.of([one.cell.seconds for one in scored]),
        flips=first.flips,
        largest=first.largest,
        size=first.size,
        timing=timings.get(first.name),
    )
