"""The winner: trained with the time that is left, compiled, verified, and measured beside the dense engines."""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from l0compile import __version__
from l0compile.gates import Budget, hardening
from l0compile.measure import Measurement, Protocol
from l0compile.result import Latency, Row, SearchResult, mark_front
from l0compile.runtime import CompiledModel
from l0compile.search.candidate import Choices, gated, hardened
from l0compile.search.evaluate import Evaluator
from l0compile.search.latency import CHOSEN, ROW_OF, Job, compare
from l0compile.search.masks import cost_density, live_weights
from l0compile.search.progress import Progress
from l0compile.search.repair import repair
from l0compile.search.study import Study, Trial
from l0compile.targets import read_host
from l0compile.tasks import Schedule, Trained, train

MODEL = "model"
BAND = 0.05
GATES_SHARE = 0.3


def finish(
    evaluator: Evaluator,
    study: Study,
    winner: Trial,
    jobs: Mapping[str, Job],
    failures: Mapping[str, str],
    out: Path,
    deadline: float,
    progress: Progress,
) -> SearchResult:
    """Train `winner` until `deadline` at the latest, compile it to ``out/model``, compare it with the dense engines."""
    task = evaluator.task
    progress.phase("training the chosen candidate")
    model, history = train_winner(evaluator, winner.choices, deadline)
    progress.phase("compiling and verifying it")
    compiled = evaluator.bench.build(model, MODEL)
    artifact = _publish(evaluator.bench.folder / MODEL, out / MODEL)
    progress.phase("final measurement: every engine in a process of its own")
    everything = {**jobs, CHOSEN: evaluator.bench.job(artifact)}
    protocol = Protocol() if study.space.effort.thorough else Protocol.quick()
    measured = compare(everything, failures, protocol)
    fixed = task.dynamic_shapes() is None
    quality = task.quality(model if fixed else compiled, "held_out")
    rows = [
        Row(name, Latency.of(found), 1.0 if found.ok else None, note=found.error or "")
        for name, found in measured.items()
        if name != CHOSEN
    ]
    rows.append(
        Row(CHOSEN, Latency.of(measured[CHOSEN]), quality, dense=False, note=measured[CHOSEN].error or "")
    )
    candidates = tuple(
        dataclasses.replace(trial.candidate(), chosen=trial.number == winner.number)
        for trial in study.trials()
    )
    return SearchResult(
        title=f"{study.space.name}: chosen model against dense engines",
        quality_name=task.quality_name,
        rows=tuple(rows),
        reference=ROW_OF[study.space.latency.reference],
        candidates=mark_front(candidates),
        regions=compiled.explain().regions,
        budget_ms=evaluator.budget.ms,
        facts=_facts(evaluator, model, compiled, measured[CHOSEN], history),
    )


def train_winner(
    evaluator: Evaluator, choices: Choices, deadline: float
) -> tuple[nn.Module, dict[str, Trained]]:
    """The chosen candidate, hardened and trained.

    Gates under their budget first if the plan says so, then weights only.
    """
    task, space, plan = evaluator.task, evaluator.space, evaluator.space.training
    band = BAND if plan.gate_steps else 0.0
    model = gated(task.dense(), space, choices, evaluator.curvature, band=band)
    repair(model, evaluator.curvature)
    history: dict[str, Trained] = {}
    budget = None
    if plan.gate_steps:
        budget = Budget(
            model, cost_density(model, space.feeds), plan.gate_steps, feeds=space.feeds, warmup=0.0
        )
        schedule = Schedule(
            plan.gate_steps, plan.batch, plan.weight_rate, plan.gate_rate, seed=space.effort.seed + 1
        )
        now = time.monotonic()
        until = now + GATES_SHARE * max(0.0, deadline - now)
        history["gates"] = train(task, model, schedule, budget=budget, deadline=until)
    hardened(model, budget)
    schedule = Schedule(plan.tune_steps, plan.batch, plan.weight_rate, seed=space.effort.seed + 2)
    history["weights"] = train(task, model, schedule, deadline=deadline)
    return model, history


def _publish(built: Path, place: Path) -> Path:
    """Move an artifact to its final place; one from an earlier search there is replaced."""
    if place.exists():
        shutil.rmtree(place)
    built.rename(place)
    return place


def _facts(
    evaluator: Evaluator,
    model: nn.Module,
    compiled: CompiledModel,
    measured: Measurement,
    history: Mapping[str, Trained],
) -> dict[str, dict[str, Any]]:
    live, total = live_weights(model)
    record = hardening(model)
    return {
        "model": {
            "artifact": MODEL,
            "live weights in gated layers": f"{live:,} of {total:,} ({live / total:.1%})",
            "hardening": str(record) if record else "",
            "compiled = gated": dict(compiled.explain().verification),
            **{
                f"training of {name}": f"{run.steps} steps, {run.seconds:.0f} s"
                for name, run in history.items()
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
