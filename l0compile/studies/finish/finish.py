"""Compile the winner, verify it, and measure it beside the dense engines."""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from l0compile import __version__
from l0compile.gates import HardenRecord, hardening
from l0compile.hardware.targets import read_host
from l0compile.measurement import Measurement, Protocol, ratio
from l0compile.measurement.engines import describe_error
from l0compile.runtime import CompiledModel
from l0compile.studies.bench.bench import FINAL, ROUGH
from l0compile.studies.bench.engines import CHOSEN, DENSE, NARROW, PRECISION_OF, ROW_OF
from l0compile.studies.bench.predicted import PredictedModel
from l0compile.studies.constraints.constraint import Chosen
from l0compile.studies.context import SearchContext, SearchState
from l0compile.studies.fit.finalist import Winner
from l0compile.studies.pruning.masks import live_weights
from l0compile.studies.result import (
    Candidate,
    Latency,
    Requirement,
    Row,
    SearchResult,
    collapsed,
    mark_front,
)

MODEL = "model"


def finish(context: SearchContext, state: SearchState) -> SearchState:
    """Compile the winner to ``model``, compare it with the dense engines, and leave no working files."""
    winner, bench, task, progress = state.winner, context.bench, context.task, context.progress
    assert winner is not None, "train_chosen comes first"
    progress.phase(f"compiling{'' if bench.predicts else ' and verifying'} the chosen candidate")
    # Patterns of heads are lists for one length.
    fixed = task.dynamic_shapes() is None or bool(context.space.attention)
    compiled = bench.build(winner.final, MODEL, dynamic=not fixed, code=True)
    if isinstance(compiled, PredictedModel):
        progress.note(f"  {MODEL}: {compiled.told}")
    artifact = _publish(bench.folder / MODEL, context.options.out / MODEL)
    runs = compiled if isinstance(compiled, CompiledModel) and not fixed else winner.final
    quality = task.quality(runs, "held_out")
    dense = task.quality(context.evaluator.origin, "held_out")
    progress.phase(
        "final prediction" if bench.predicts else "final measurement: every engine in a process of its own"
    )
    measured, reference = _compared(context, artifact)
    chosen = Chosen(winner.model, artifact, quality, dense, measured, context.budget)
    requirements = _requirements(context, chosen)
    bench.stopwatch.close()
    narrow, unknown = _narrow_qualities(context, measured)
    qualities = dict.fromkeys(measured, dense) | narrow | {CHOSEN: quality}
    shutil.rmtree(bench.folder, ignore_errors=True)
    # Under a quality target, every finalist has a budget of its own.
    share = state.wanted if context.space.quality is None else winner.finalist.wanted
    result = SearchResult(
        title=f"{context.space.name}: chosen model against dense engines",
        quality_name=task.quality_name,
        rows=_rows(measured, reference, qualities, PRECISION_OF | {CHOSEN: ", ".join(_precisions(winner))}),
        reference=reference,
        candidates=_candidates(context, state, winner),
        regions=compiled.explain().regions,
        budget_ms=share * context.budget.ms,
        facts={
            **_facts(context, winner, compiled, chosen),
            **({"quality not known": unknown} if unknown else {}),
            "fits": {
                "models measured": len(context.fitter.measured),
                "seconds of each": context.fitter.seconds,
            },
            "overhead": {"choosing and recording trials": f"{state.overhead_s:.1f} s"},
        },
        asked=requirements,
        budget_ratio=None if context.budget.ratio is None else share * context.budget.ratio,
    )
    return dataclasses.replace(state, result=result)


def _requirements(context: SearchContext, chosen: Chosen) -> tuple[Requirement, ...]:
    """Compare the chosen model with every constraint of the space, and report the verdicts."""
    found = tuple(each.verdict(each.measure(chosen), chosen) for each in context.space.constraints)
    for requirement in found:
        context.progress.note(f"  {'' if requirement.met else 'WARNING: '}{requirement}")
    if collapsed(chosen.quality, chosen.dense_quality):
        context.progress.note(
            f"  WARNING: the quality has collapsed: {chosen.quality:.4g}, of {chosen.dense_quality:.4g} of the dense "
            "model"
        )
    return found


def _compared(context: SearchContext, artifact: Path) -> tuple[dict[str, Measurement], str]:
    """Measure the dense engines and the chosen model side by side; also return the row that speed-ups refer to."""
    bench, space, end = context.bench, context.space, context.clock.end
    jobs, failures = bench.dense_jobs(space.engines)
    if bench.stopwatch.is_late(len(jobs) + 1, end):
        wanted = {DENSE, ROW_OF[space.latency.reference]}
        failures |= {name: "no time was left to measure it" for name in jobs if name not in wanted}
        jobs = {name: job for name, job in jobs.items() if name in wanted}
    order = [*ROW_OF.values()]
    everything = {name: jobs[name] for name in order if name in jobs} | {CHOSEN: bench.job(artifact)}
    protocol = bench.timed(Protocol() if space.effort.thorough else Protocol.quick())
    reference = ROW_OF[space.latency.reference]
    measured = bench.compare(
        everything, failures, protocol, (reference, CHOSEN), width=FINAL if space.effort.thorough else ROUGH,
        until=end, told=context.progress.note,
    )  # fmt: skip
    return {name: measured[name] for name in (*order, CHOSEN) if name in measured}, reference


def _narrow_qualities(
    context: SearchContext, measured: Mapping[str, Measurement]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the quality on held-out data of each row of narrow numbers that was measured, or why it is not known."""
    found: dict[str, float | None] = {}
    unknown: dict[str, str] = {}
    for engine in NARROW:
        if (row := ROW_OF[engine]) in measured and measured[row].ok:
            try:
                found[row] = context.bench.narrow.quality(engine)
            except Exception as error:  # whatever another engine can't compute is a row without a quality
                found[row], unknown[row] = None, describe_error(error)
                context.progress.note(f"  {row}: its quality is not known: {unknown[row]}")
    return found, unknown


def _rows(
    measured: Mapping[str, Measurement],
    reference: str,
    qualities: Mapping[str, float | None],
    precisions: Mapping[str, str],
) -> tuple[Row, ...]:
    """Return the rows of the final table: dense engines, also those that failed, and the chosen model last.

    precisions: of rows that are not float32.
    """

    def row(name: str) -> Row:
        found, beside = measured[name], measured.get(reference)
        speedup = ratio(beside, found, paired=True) if beside is not None and beside.ok and found.ok else None
        quality = qualities[name] if found.ok or name == CHOSEN else None
        latency, precision = Latency.of(found), precisions.get(name, "float32")
        return Row(name, latency, quality, name != CHOSEN, found.error or "", speedup, precision)

    return tuple(row(name) for name in (*(name for name in measured if name != CHOSEN), CHOSEN))


def _candidates(context: SearchContext, state: SearchState, winner: Winner) -> tuple[Candidate, ...]:
    """Return all trials in order, then the finalists, then what failed."""
    fitted = [
        dataclasses.replace(finalist.candidate(context.budget.ms), chosen=finalist is winner.finalist)
        for finalist in state.finalists
    ]
    found = [*(trial.candidate() for trial in context.study.trials()), *fitted, *state.failures]
    numbered = tuple(dataclasses.replace(item, number=number) for number, item in enumerate(found))
    return mark_front(numbered, context.dense_quality)


def _publish(built: Path, place: Path) -> Path:
    """Move an artifact to its final place, and replace that of an earlier search."""
    if place.exists():
        shutil.rmtree(place)
    built.rename(place)
    return place


def _hardening(record: HardenRecord) -> str:
    wanted = "" if record.requested is None else f", {record.requested:.1%} asked for"
    return f"{record.rule} rule, {record.values} values of open gates, {record.density:.1%} of the cost left{wanted}"


def _precisions(winner: Winner) -> dict[str, int]:
    """Count the gated layers of each precision, the most frequent first."""
    layers = winner.finalist.fitted.allocation.layers.values()
    return dict(Counter(level.precision for level in layers).most_common())


def _facts(
    context: SearchContext, winner: Winner, compiled: CompiledModel | PredictedModel, chosen: Chosen
) -> dict[str, dict[str, Any]]:
    live, total = live_weights(winner.model)
    precisions = _precisions(winner)
    record = hardening(winner.model)
    size_mb = sum(file.stat().st_size for file in chosen.artifact.iterdir()) / 1e6
    return {
        "model": {
            "artifact": MODEL,
            "size": f"{size_mb:.1f} MB",
            "live weights in gated layers": f"{live:,} of {total:,} ({live / max(1, total):.1%})",
            "hardening": _hardening(record) if record else "",
            "precision": ", ".join(f"{precision} in {n} layers" for precision, n in precisions.items()),
            "compiled = gated": dict(compiled.explain().verification),
            **{
                f"training of {name}": f"{run.steps} steps, {run.seconds:.0f} s, products in {run.products}"
                for name, run in winner.history.items()
            },
        },
        "data": {
            "text": context.task.source,
            "quality": "held-out text in the table, validation text for candidates",
        },
        "measurement": chosen.measured[CHOSEN].protocol.to_dict(),
        "machine": {"fingerprint": read_host().fingerprint()},
        **_predicted_for(compiled),
        "versions": {"l0compile": __version__}
        | {name: version(name) for name in ("torch", "apache-tvm", "optuna")},
    }


def _predicted_for(compiled: CompiledModel | PredictedModel) -> dict[str, dict[str, Any]]:
    """Say for which card times were predicted; nothing if they were measured."""
    if isinstance(compiled, CompiledModel):
        return {}
    said = "an analytic model; nothing was run or measured on a GPU"
    return {"predicted": {"card": compiled.time.card, "by": said, "artifact": compiled.told}}
