"""The latency of a series' dense model and of its compiled models, every engine in a process of its own."""

import json
from dataclasses import dataclass
from pathlib import Path

from l0compile.ir.codec import decode_json, encode
from l0compile.measurement import (
    ENGINES,
    Measurement,
    Protocol,
    Ratio,
    Workload,
    export_onnx,
    measure_engines,
    ratio,
)
from l0compile.studies.paper.cell import cell_name
from l0compile.studies.paper.plan import PaperPlan, Series

DENSE_ENGINES = ("pytorch", "onnxruntime", "openvino")


@dataclass(frozen=True)
class PaperTiming:
    """Milliseconds of one model on one engine.

    name: an engine, for the dense model; or the name of a cell, for its compiled model. ms, low, high: the median and
    its 95 % interval; None where it failed, and error says why. faster: than the best dense engine, block by block.
    """

    name: str
    ms: float | None
    low: float | None
    high: float | None
    error: str | None = None
    faster: Ratio | None = None


def time_series(plan: PaperPlan, series: Series, folder: Path) -> tuple[PaperTiming, ...]:
    """Measure a series, unless that was done, and keep the result beside its cells.

    Args:
        plan: the fractions.
        series: the task.
        folder: of the cells; the artifacts of seed 0 are below it.

    Returns:
        The dense engines that are installed, then the compiled models.
    """
    names = [cell_name(series.name, 0, fraction) for fraction in (None, *plan.fractions)]
    known = load_timings(series, folder)
    if {timing.name for timing in known} >= set(names):
        return known
    found, file = _measure(series, names, folder), _file(series, folder)
    file.write_text(json.dumps(encode(found)) + "\n", encoding="utf-8")
    return found


def load_timings(series: Series, folder: Path) -> tuple[PaperTiming, ...]:
    """Return what ``time_series`` kept; nothing if it has not run.

    Raises:
        StorageError: the file is malformed.
    """
    file = _file(series, folder)
    if not file.exists():
        return ()
    return decode_json(file.read_text(encoding="utf-8"), tuple[PaperTiming, ...], str(file))


def _file(series: Series, folder: Path) -> Path:
    return folder / f"{series.name}-timing.json"


def _measure(series: Series, names: list[str], folder: Path) -> tuple[PaperTiming, ...]:
    task = series.load()
    workload = task.workload()
    jobs: dict[str, tuple[str, Workload]] = {}
    if workload is not None:
        factory, arguments = workload
        onnx = folder / f"{series.name}.onnx"
        export_onnx(task.build(0), task.example(), onnx, dynamic_shapes=task.dynamic_shapes())
        dense = Workload(factory, arguments, onnx_path=str(onnx))
        jobs = {engine: (engine, dense) for engine in DENSE_ENGINES if engine in ENGINES}
        jobs |= {
            name: ("l0compile", Workload(factory, arguments, artifact=str(folder / "artifacts" / name)))
            for name in names
        }
    measured = measure_engines(jobs, Protocol.careful())
    dense_times = {name: one for name, one in measured.items() if name in DENSE_ENGINES and one.ok}
    best = min(dense_times.values(), key=lambda one: one.median_ms, default=None)
    return tuple(_timing(name, one, best) for name, one in measured.items())


def _timing(name: str, one: Measurement, best: Measurement | None) -> PaperTiming:
    if not one.ok:
        return PaperTiming(name, None, None, None, one.error)
    faster = ratio(best, one, paired=True) if best is not None else None
    return PaperTiming(name, one.median_ms, one.low_ms, one.high_ms, faster=faster)
