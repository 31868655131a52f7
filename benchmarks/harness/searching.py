"""What benchmarks of the search share: pruned layers of MiniLM, and the dense engine to compare with."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from l0compile.hardware.targets import load_target
from l0compile.measurement import Measurement, Protocol, Workload, measure_engines, ratio
from l0compile.measurement.stopwatch import Job
from l0compile.studies.bench.bench import Bench
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import Fitted, Fitter
from l0compile.studies.pruning.prices import Prices
from l0compile.studies.result import SearchResult
from l0compile.studies.setup import legal_shapes, prepare
from l0compile.studies.space.candidate import Choices, layers_of, unique
from l0compile.studies.space.read import read_space
from l0compile.studies.space.space import Space
from l0compile.studies.study.progress import RichProgress
from l0compile.tasks import Task, make_task

_NEUTRAL = Choices()
SPACE = Path(__file__).parents[2] / "search_spaces" / "minilm.toml"
FLOAT_SPACE = SPACE.with_stem("minilm_float32")


def space_and_task(text: Path | None, file: Path = FLOAT_SPACE) -> tuple[Space, Task]:
    """Load a shipped space of MiniLM and its task; ``text`` is a folder that replaces the default text."""
    space = read_space(file)
    return space, make_task(space.task, space.options, text)


def evaluator(space: Space, task: Task, folder: Path) -> tuple[Evaluator, float]:
    """Prune every layer to all levels, keep these in ``folder``, and return an evaluator and the seconds it took."""
    start = time.monotonic()
    with RichProgress(600.0) as progress:
        target = load_target("native")
        shapes, groups = legal_shapes(space, target), layers_of(task.dense(), space)
        found = prepare(task, space, groups, shapes, Prices.of(target), folder / "candidates", progress)
    return found, time.monotonic() - start


def every_shape(
    space: Space, task: Task, shapes: tuple[tuple[int, int], ...], folder: Path, target: str = "native"
) -> tuple[Evaluator, float]:
    """Do what ``evaluator`` does with ``shapes`` in every layer, including shapes that cannot win."""
    start = time.monotonic()
    layers = unique(layers_of(task.dense(), space).values())
    prices, wanted = Prices.of(load_target(target)), dict.fromkeys(layers, shapes)
    found = Evaluator.of(task, space, wanted, {}, prices, folder / "candidates", told=told)
    return found, time.monotonic() - start


def told(done: int, total: int) -> None:
    """Print every 36th layer that is pruned."""
    if done % 36 == 0:
        print(f"{done} of {total} (layer, block shape)", flush=True)


def final_table(result: SearchResult) -> dict[str, dict[str, Any]]:
    """Return the rows of a search's table by name."""
    return {row.name: dataclasses.asdict(row) for row in result.rows}


def dense_jobs(task: Task, folder: Path) -> tuple[Bench, dict[str, Job], dict[str, Measurement]]:
    """Measure the dense model in OpenVINO and compiled, with a bench in ``folder``."""
    bench = Bench(task, folder)
    bench.prepare()
    bench.build(task.dense(), "dense", dynamic=False)
    jobs = {"openvino": openvino(task, folder), "dense": bench.job(folder / "dense")}
    return bench, jobs, measure_engines(jobs, Protocol())


def fitted(fitter: Fitter, reference: Job, choices: Choices = _NEUTRAL) -> tuple[Fitted, list[float]]:
    """Fit a plan to the budget; measure its speed-up over the reference again, with its interval."""
    found = fitter.fit(choices, fitter.budget.ms)
    fitter.bench.build(fitter.evaluator.realised(found.allocation), "fitted", dynamic=False)
    both = {"reference": reference, "fitted": fitter.bench.job(fitter.bench.folder / "fitted")}
    measured = measure_engines(both, Protocol())
    times = ratio(measured["reference"], measured["fitted"], paired=True)
    return found, [round(x, 3) for x in (times.value, times.low, times.high)]


def openvino(task: Task, folder: Path) -> Job:
    """Make a job of the dense model in OpenVINO, the fastest of the other engines on CPUs."""
    from l0compile.measurement import export_onnx

    onnx = folder / "dense.onnx"
    if not onnx.exists():
        export_onnx(task.dense(), task.example(), onnx)
    factory, arguments = task.workload() or ("", {})
    return "openvino", Workload(factory, arguments, onnx_path=str(onnx))
