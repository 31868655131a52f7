"""The winner compiled, verified, and measured beside the dense engines."""

import dataclasses
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from l0compile import __version__
from l0compile.gates import HardenRecord, hardening
from l0compile.hardware.targets import read_host
from l0compile.measurement import Measurement, Protocol, ratio
from l0compile.pruning.masks import live_weights
from l0compile.runtime import CompiledModel
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.finalist import Finalist
from l0compile.studies.finish.requirements import asked_of
from l0compile.studies.finish.winner import Winner
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.latency import CHOSEN, DENSE, FINAL, ROUGH, ROW_OF
from l0compile.studies.result import Candidate, Latency, Row, SearchResult, collapsed, mark_front

MODEL = "model"


def finish(exploration: Exploration, winner: Winner, out: Path) -> SearchResult:
    """Compile the winner to ``out/model``, compare it with the dense engines, and leave no working files."""
    evaluator, bench, progress = exploration.evaluator, exploration.fitter.bench, exploration.progress
    task, space, budget = evaluator.task, evaluator.space, exploration.fitter.budget
    progress.phase("compiling and verifying the chosen candidate")
    compiled = bench.build(winner.model, MODEL)
    artifact = _publish(bench.folder / MODEL, out / MODEL)
    size = sum(file.stat().st_size for file in artifact.iterdir()) / 1e6
    fixed = task.dynamic_shapes() is None
    quality = task.quality(winner.model if fixed else compiled, "held_out")
    dense = task.quality(evaluator.origin, "held_out")
    progress.phase("final measurement: every engine in a process of its own")
    measured, reference = _compared(exploration, artifact)
    asked = asked_of(space, budget, measured, quality, dense, size)
    for item in asked:
        progress.note(f"  {'' if item.met else 'WARNING: '}{item}")
    if collapsed(quality, dense):
        progress.note(
            f"  WARNING: the quality has collapsed: {quality:.4g}, of {dense:.4g} of the dense model"
        )
    bench.stopwatch.close()
    shutil.rmtree(bench.folder, ignore_errors=True)
    return SearchResult(
        title=f"{space.name}: chosen model against dense engines",
        quality_name=task.quality_name,
        rows=_rows(measured, reference, quality, dense),
        reference=reference,
        candidates=_candidates(exploration, winner.finalist),
        regions=compiled.explain().regions,
        budget_ms=exploration.budget_of(winner.finalist) * budget.ms,
        facts={
            **_facts(evaluator, winner, compiled, measured[CHOSEN], size),
            "overhead": {"choosing and recording trials": f"{exploration.overhead_s:.1f} s"},
        },
        asked=asked,
        budget_ratio=None if budget.ratio is None else exploration.budget_of(winner.finalist) * budget.ratio,
    )


def _compared(exploration: Exploration, artifact: Path) -> tuple[dict[str, Measurement], str]:
    """The dense engines and the chosen model, side by side until what the budget asks is decided, and the row that
    speed-ups are over."""
    bench, space = exploration.fitter.bench, exploration.study.space
    jobs, failures = bench.dense_jobs()
    if bench.stopwatch.is_late(len(jobs) + 1, exploration.clock.end):
        wanted = {DENSE, ROW_OF[space.latency.reference]}
        failures |= {name: "no time was left to measure it" for name in jobs if name not in wanted}
        jobs = {name: job for name, job in jobs.items() if name in wanted}
    order = [ROW_OF[engine] for engine in ("pytorch", "onnxruntime", "openvino", "l0compile")]
    everything = {name: jobs[name] for name in order if name in jobs} | {CHOSEN: bench.job(artifact)}
    protocol = bench.timed(Protocol() if space.effort.thorough else Protocol.quick())
    reference = ROW_OF[space.latency.reference]
    measured = bench.compare(
        everything, failures, protocol, (reference, CHOSEN), width=FINAL if space.effort.thorough else ROUGH,
        until=exploration.clock.end, progress=exploration.progress,
    )  # fmt: skip
    return {name: measured[name] for name in (*order, CHOSEN) if name in measured}, reference


def _rows(
    measured: Mapping[str, Measurement], reference: str, quality: float, dense: float
) -> tuple[Row, ...]:
    """Dense engines, those that failed included, and the chosen model last."""

    def row(name: str, quality: float | None) -> Row:
        found, beside = measured[name], measured.get(reference)
        speedup = ratio(beside, found, paired=True) if beside is not None and beside.ok and found.ok else None
        return Row(name, Latency.of(found), quality, name != CHOSEN, found.error or "", speedup)

    others = [name for name in measured if name != CHOSEN]
    return (*(row(name, dense if measured[name].ok else None) for name in others), row(CHOSEN, quality))


def _candidates(exploration: Exploration, winner: Finalist) -> tuple[Candidate, ...]:
    """Trials in order, then what was fitted."""
    budget = exploration.fitter.budget.ms
    fitted = [
        dataclasses.replace(finalist.candidate(budget), chosen=finalist is winner)
        for finalist in exploration.finalists
    ]
    found = [*(trial.candidate() for trial in exploration.study.trials()), *fitted, *exploration.failures]
    numbered = tuple(dataclasses.replace(item, number=number) for number, item in enumerate(found))
    return mark_front(numbered, exploration.dense)


def _publish(built: Path, place: Path) -> Path:
    """Move an artifact to its final place; one from an earlier search there is replaced."""
    if place.exists():
        shutil.rmtree(place)
    built.rename(place)
    return place


def _hardening(record: HardenRecord) -> str:
    asked = "" if record.requested is None else f", {record.requested:.1%} asked for"
    return f"{record.rule} rule, {record.values} values of open gates, {record.density:.1%} of the cost left{asked}"


def _facts(
    evaluator: Evaluator, winner: Winner, compiled: CompiledModel, measured: Measurement, size_mb: float
) -> dict[str, dict[str, Any]]:
    live, total = live_weights(winner.model)
    record = hardening(winner.model)
    return {
        "model": {
            "artifact": MODEL,
            "size": f"{size_mb:.1f} MB",
            "live weights in gated layers": f"{live:,} of {total:,} ({live / max(1, total):.1%})",
            "hardening": _hardening(record) if record else "",
            "compiled = gated": dict(compiled.explain().verification),
            **{
                f"training of {name}": f"{run.steps} steps, {run.seconds:.0f} s, products in {run.products}"
                for name, run in winner.history.items()
            },
        },
        "data": {
            "text": evaluator.task.source,
            "quality": "held-out text in the table, validation text for candidates",
        },
        "measurement": measured.protocol.to_dict(),
        "machine": {"fingerprint": read_host().fingerprint()},
        "versions": {"l0compile": __version__}
        | {name: version(name) for name in ("torch", "apache-tvm", "optuna")},
    }
