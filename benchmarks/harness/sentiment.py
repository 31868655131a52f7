"""What the benchmark of sentiment is made of: gated heads, exactness on a test set, a model fitted to a latency."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import searching
from l0compile.gates import Feature, named_gates
from l0compile.measurement import Measurement, Protocol, measure_engines, ratio
from l0compile.measurement.stopwatch import Job
from l0compile.runtime import CompiledModel
from l0compile.studies.bench.bench import Bench
from l0compile.studies.bench.engines import DENSE
from l0compile.studies.fit.budget import budget_of
from l0compile.studies.fit.fit import Fitter
from l0compile.studies.pruning.masks import live_weights, open_gates
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.tasks import Classification, ImdbEmbeddings, Trained, train_gated


def gated_head(vectors: ImdbEmbeddings, fraction: float, seed: int) -> tuple[nn.Module, float]:
    """Train a head whose gates leave a share of the features; return it, hardened, and the share that is left."""
    model = vectors.train_dense(seed)
    gates = {vectors.representation: Feature()}
    done = train_gated(vectors, model, gates, fraction, vectors.gate_recipe(seed))
    return model, done.achieved


def accuracy(task: Classification, logits: Tensor) -> float:
    """Return the accuracy of logits of all test reviews."""
    return float((logits.argmax(1) == task.labels("held_out")).double().mean())


def against(task: Classification, wanted: Tensor, compiled: CompiledModel) -> dict[str, Any]:
    """Run the compiled model on all test reviews, and compare it with the logits of the hardened model."""
    begun = time.monotonic()
    found = task.logits(compiled, "held_out")
    return {
        "reviews": len(found),
        "compiled_accuracy": accuracy(task, found),
        "flips": int((found.argmax(1) != wanted.argmax(1)).sum()),
        "largest_difference": float((found - wanted).abs().max()),
        "compiled_seconds": round(time.monotonic() - begun, 1),
    }


@dataclass(frozen=True)
class Quick:
    """A model with zeros. model: hardened and trained. jobs: how to time it and the dense engines. facts: for a row."""

    model: nn.Module
    compiled: CompiledModel
    jobs: dict[str, Job]
    facts: dict[str, Any]


def pruned(space: Space, task: Classification, folder: Path) -> Quick:
    """Fit heads and blocks to the latency of the space, distil, and compile; interrupted, it resumes in ``folder``."""
    evaluator, seconds = searching.evaluator(space, task, folder)
    print(f"candidates after {seconds:.0f} s", flush=True)
    bench = Bench(task, folder)
    bench.prepare()
    jobs, failures = bench.dense_jobs({"onnxruntime", "l0compile"})
    assert not failures, failures
    dense = measure_engines(jobs, Protocol())
    print({name: str(found) for name, found in dense.items()}, flush=True)
    budget = budget_of(space, dense, jobs)
    points = [(evaluator.menu.dense_ms, budget.scaled(dense[DENSE], dense))]
    fitter = Fitter(evaluator, bench, budget, points)
    fitter.told = lambda fitted: print(f"  {fitted.latency}, {fitted.load:.3f} of the budget", flush=True)
    found = fitter.fit(Choices(), budget.ms)
    bench.stopwatch.close()
    model = evaluator.realised(found.allocation)
    evaluator.solve(model)
    before = task.quality(model, "validation")
    history = evaluator.train(
        model,
        space.training.schedule(space.training.tune_steps, space.effort.seed),
        kept=folder / "trainings",
    )
    after = task.quality(model, "validation")
    compiled = bench.build(model, "chosen")
    jobs["chosen"] = bench.job(folder / "chosen")
    return Quick(model, compiled, jobs, _facts(model, found.load, history, before, after))


def speedups(jobs: dict[str, Job], protocol: Protocol | None = None) -> dict[str, Any]:
    """Time everything side by side; say how much faster ``chosen`` is than each of the others."""
    measured = measure_engines(jobs, protocol or Protocol())
    found: dict[str, Any] = {"ms": {name: str(one) for name, one in measured.items()}}
    for name, one in measured.items():
        if name != "chosen" and one.ok:
            found[f"over {name}"] = _speedup(one, measured["chosen"])
    return found


def _speedup(slow: Measurement, quick: Measurement) -> list[float]:
    times = ratio(slow, quick, paired=True)
    return [round(value, 3) for value in (times.value, times.low, times.high)]


def _facts(model: nn.Module, load: float, history: Trained, before: float, after: float) -> dict[str, Any]:
    live, every = live_weights(model)
    heads = [open_gates(gate) for name, gate in named_gates(model).items() if name.endswith("l0_head")]
    return {
        "load": round(load, 3),
        "live_weights": round(live / every, 4),
        "heads": round(float(torch.cat(heads).float().mean()), 3) if heads else 1.0,
        "validation": {"by least squares": round(before, 4), "trained": round(after, 4)},
        "training": {"steps": history.steps, "seconds": round(history.seconds), "products": history.products},
    }
