"""The search from beginning to end.

Baselines, trials, Pareto sweep, the winner trained and compiled, the final table.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from l0compile.errors import BuildError, ConfigError, DataError
from l0compile.measure import Measurement, Protocol
from l0compile.result import RESULT, SearchResult
from l0compile.search.candidate import gated_layer_names
from l0compile.search.curvature import measure_curvature
from l0compile.search.evaluate import Evaluator
from l0compile.search.explore import Clock, run_sweep, run_trials
from l0compile.search.finish import finish
from l0compile.search.latency import DENSE, Bench, Budgeted, budget_of, compare
from l0compile.search.progress import Progress, RichProgress, Silent
from l0compile.search.read import read_space
from l0compile.search.space import Space
from l0compile.search.study import open_study
from l0compile.targets import load_target, read_host
from l0compile.tasks import Task, make_task


def search(
    space: Space | str | Path,
    out: str | Path,
    *,
    text: str | Path | None = None,
    quick: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the best model within a latency budget on this machine, and leave it in the folder `out`.

    Args:
        space: a search space, or the path of its TOML file.
        out: folder for ``model/`` (the chosen artifact), ``study.sqlite`` (every trial) and ``result.json``.
        text: folder of .txt, .jsonl or .jsonl.gz files instead of the task's default text.
        quick: two trials and a few steps, to see that everything works; figures mean nothing then.
        resume: continue the study in `out` (after Ctrl-C or a kill); completed trials are kept and not paid for
        again.
        progress: told of every step; default: lines and a bar on standard error.

    Raises:
        ConfigError: a malformed space, or a study made with another one. DataError: text that is missing or
        unreadable,
            or a disk that is full. MissingDependency: a package that the task or the budget's reference needs.
        GateError: a pattern that matches nothing. BuildError: no candidate at all could be built.
    """
    space = space if isinstance(space, Space) else read_space(space)
    folder = None if text is None else Path(text)
    if progress is not None:
        return run_search(space, Path(out), text=folder, quick=quick, resume=resume, progress=progress)
    with RichProgress(space.effort.seconds) as bar:
        return run_search(space, Path(out), text=folder, quick=quick, resume=resume, progress=bar)


def run_search(
    space: Space,
    out: Path,
    *,
    text: Path | None = None,
    quick: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> SearchResult:
    """As `search`, for a space already read, and silent by default."""
    space = space.quick() if quick else space
    clock = Clock(time.monotonic(), space.effort.seconds)
    try:
        out.mkdir(parents=True, exist_ok=True)
        result = _run(space, out, text, resume, progress or Silent(), clock)
        spent = {"search seconds": round(time.monotonic() - clock.start), "allowed": space.effort.seconds}
        result = dataclasses.replace(result, facts={**result.facts, "time": spent})
        result.save(out / RESULT)
    except OSError as error:
        raise DataError(
            f"search: {out} can't be written ({error.strerror or error}); free disk space or choose another --out, "
            "then continue with --resume: completed trials are kept"
        ) from error
    return result


def _run(
    space: Space, out: Path, text: Path | None, resume: bool, progress: Progress, clock: Clock
) -> SearchResult:
    shapes = legal_shapes(space)
    progress.phase("loading model and text")
    task = make_task(space.task, space.options, text)
    layers = gated_layer_names(task.dense(), space)
    bench = Bench(task, out / "work")
    bench.prepare()
    study = open_study(space, shapes, out, resume=resume, conditions=_conditions(task))
    progress.phase("measuring the dense engines")
    jobs, failures = bench.dense_jobs()
    dense = compare(jobs, failures, Protocol.quick())
    budget = budget_of(space.latency, dense, jobs, space.name)
    _tell_baselines(progress, dense, budget)
    final_seconds = time.monotonic() - clock.start
    progress.phase("measuring the curvature of every gated layer")
    curvature = measure_curvature(
        task.dense(), layers, task.calibration(), task.predict, seed=space.effort.seed
    )
    evaluator = Evaluator(task, space, curvature, bench, budget, study.outcomes())
    dense_load = dense[DENSE].median_ms / budget.ms if dense[DENSE].ok else 2.0
    run_trials(study, evaluator, dense_load, clock, progress)
    run_sweep(study, evaluator, dense_load, clock, progress)
    winner = study.best() or study.fastest()
    if winner is None:
        raise BuildError(f"{space.name}: no candidate could be built and measured: {study.trials()[0].error}")
    if study.best() is None:
        progress.note(
            f"  WARNING: no candidate met the budget of {budget.ms:.3f} ms; going on with the fastest one. "
            "Widen the density ranges of the space, or raise the budget"
        )
    deadline = clock.winner_deadline(final_seconds)
    return finish(evaluator, study, winner, jobs, failures, out, deadline, progress)


def legal_shapes(space: Space) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each group of blocks the shapes that this machine has a kernel for.

    Raises ConfigError if none is left.
    """
    target = load_target("native")
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for group in space.gates:
        if group.kind == "block":
            found[group.name] = tuple(shape for shape in group.shapes if target.block_efficiency(*shape) > 0)
            if not found[group.name]:
                legal = ", ".join(f"{rows}x{cols}" for rows, cols in target.blocks) or "no block shape"
                raise ConfigError(
                    f"{space.name}: gates {group.name!r}: shapes: this machine has kernels for {legal}"
                )
    return found


def _conditions(task: Task) -> str:
    return f"{task.source} {read_host().fingerprint()}"


def _tell_baselines(progress: Progress, dense: Mapping[str, Measurement], budget: Budgeted) -> None:
    for name, measurement in dense.items():
        progress.note(f"  {name}: {measurement}")
    progress.note(f"  latency budget: {budget.ms:.3f} ms")
