"""The winner: trained with the time that is left, compiled, verified, and measured beside the dense engines."""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from l0compile import __version__
from l0compile.gates import hardening
from l0compile.measure import Measurement, Protocol
from l0compile.oneshot.masks import live_weights, structure
from l0compile.result import Candidate, Latency, Row, SearchResult, mark_front
from l0compile.runtime import CompiledModel
from l0compile.search.evaluate import Evaluator
from l0compile.search.explore import Exploration
from l0compile.search.finalist import Finalist
from l0compile.search.gates import fit_gates, train_gates
from l0compile.search.latency import CHOSEN, ROW_OF, Job, compare
from l0compile.targets import read_host
from l0compile.tasks import Checkpoint, Trained

MODEL = "model"
# Share of the winner's time after which its gates are constants.
GATES_UNTIL = 0.5


@dataclass(frozen=True)
class Winner:
    """The finalist that is chosen, trained. history: of its trainings, by what was trained."""

    finalist: Finalist
    model: nn.Module
    history: Mapping[str, Trained]


def finish(
    exploration: Exploration, winner: Winner, jobs: Mapping[str, Job], failures: Mapping[str, str], out: Path
) -> SearchResult:
    """Compile the winner to ``out/model`` and compare it with the dense engines."""
    evaluator, bench, progress = exploration.evaluator, exploration.fitter.bench, exploration.progress
    task, space, budget = evaluator.task, evaluator.space, exploration.fitter.budget
    progress.phase("compiling and verifying the chosen candidate")
    compiled = bench.build(winner.model, MODEL)
    artifact = _publish(bench.folder / MODEL, out / MODEL)
    progress.phase("final measurement: every engine in a process of its own")
    everything = {**jobs, CHOSEN: bench.job(artifact)}
    protocol = Protocol() if space.effort.thorough else Protocol.quick()
    measured = compare(everything, failures, protocol)
    fixed = task.dynamic_shapes() is None
    quality = task.quality(winner.model if fixed else compiled, "held_out")
    rows = [
        Row(name, Latency.of(found), 1.0 if found.ok else None, note=found.error or "")
        for name, found in measured.items()
        if name != CHOSEN
    ]
    rows.append(
        Row(CHOSEN, Latency.of(measured[CHOSEN]), quality, dense=False, note=measured[CHOSEN].error or "")
    )
    bench.checkpoint.unlink(missing_ok=True)
    return SearchResult(
        title=f"{space.name}: chosen model against dense engines",
        quality_name=task.quality_name,
        rows=tuple(rows),
        reference=ROW_OF[space.latency.reference],
        candidates=_candidates(exploration, winner.finalist),
        regions=compiled.explain().regions,
        budget_ms=winner.finalist.wanted * budget.ms,
        facts={
            **_facts(evaluator, winner, compiled, measured[CHOSEN]),
            "overhead": {"choosing and recording trials": f"{exploration.overhead_s:.1f} s"},
        },
    )


def _candidates(exploration: Exploration, winner: Finalist) -> tuple[Candidate, ...]:
    """Trials in order, then what was fitted."""
    budget = exploration.fitter.budget.ms
    fitted = [
        dataclasses.replace(finalist.candidate(budget), chosen=finalist is winner)
        for finalist in exploration.finalists
    ]
    found = [*(trial.candidate() for trial in exploration.study.trials()), *fitted, *exploration.failures]
    return mark_front(tuple(dataclasses.replace(item, number=number) for number, item in enumerate(found)))


def train_winner(exploration: Exploration, finalist: Finalist, deadline: float) -> Winner:
    """A finalist trained until `deadline` at the latest: its gates, if the space says so, then its weights alone."""
    evaluator, space = exploration.evaluator, exploration.study.space
    plan, seed = space.training, space.effort.seed
    chosen = _with_trained_gates(exploration, finalist, deadline) if plan.gate_steps else None
    if chosen is None:
        model = evaluator.realised(finalist.fitted.choices, finalist.fitted.plan)
        evaluator.solve(model)
        chosen = Winner(finalist, model, {})
    schedule = plan.schedule(plan.tune_steps, seed + 2)
    kept = Checkpoint(exploration.fitter.bench.checkpoint, f"{structure(chosen.model)} {schedule}")
    history = evaluator.train(chosen.model, schedule, deadline=deadline, checkpoint=kept)
    return dataclasses.replace(chosen, history={**chosen.history, "weights": history})


def _with_trained_gates(exploration: Exploration, finalist: Finalist, deadline: float) -> Winner | None:
    """None where what came of it does not meet the budget."""
    evaluator, fitter, plan = exploration.evaluator, exploration.fitter, exploration.study.space.training
    now = time.monotonic()
    schedule = plan.schedule(plan.gate_steps, exploration.study.space.effort.seed + 1)
    trained = train_gates(
        evaluator, finalist.fitted, exploration.prices, schedule, now + GATES_UNTIL * (deadline - now)
    )
    fitted = fit_gates(trained, fitter, finalist.fitted, finalist.wanted * fitter.budget.ms)
    if fitted is None:
        exploration.progress.note("  trained gates did not meet the budget: going on with the plan's")
        return None
    # Other zeros than those that the finalist's quality was found with.
    quality = evaluator.task.quality(trained.model, "validation")
    found = dataclasses.replace(finalist, fitted=fitted, quality=quality)
    exploration.finalists[exploration.finalists.index(finalist)] = found
    return Winner(found, trained.model, {"gates": trained.history})


def _publish(built: Path, place: Path) -> Path:
    """Move an artifact to its final place; one from an earlier search there is replaced."""
    if place.exists():
        shutil.rmtree(place)
    built.rename(place)
    return place


def _facts(
    evaluator: Evaluator, winner: Winner, compiled: CompiledModel, measured: Measurement
) -> dict[str, dict[str, Any]]:
    live, total = live_weights(winner.model)
    record = hardening(winner.model)
    return {
        "model": {
            "artifact": MODEL,
            "live weights in gated layers": f"{live:,} of {total:,} ({live / max(1, total):.1%})",
            "hardening": str(record) if record else "",
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
