"""The search from beginning to end: baselines, trials, Pareto sweep, the winner trained and compiled, the final table."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l0compile.errors import ConfigError, DataError
from l0compile.measure import Measurement, Protocol
from l0compile.search.allocate import LatencyModel, first_guesses, towards
from l0compile.search.candidate import Choices, gated_layer_names
from l0compile.search.evaluate import TRAINED, Evaluator
from l0compile.search.finish import finish
from l0compile.search.latency import DENSE, Bench, budget_of
from l0compile.search.progress import Progress, RichProgress, Silent
from l0compile.search.result import Candidate, SearchResult
from l0compile.search.second_order import measure_curvature
from l0compile.search.space import Space, read_space
from l0compile.search.study import Study, open_study
from l0compile.targets import load_target, read_host
from l0compile.tasks import Task, make_task

RESULT = "result.json"
# Shares of the time at whose end the trials, and then the sweep, have to leave room for the winner.
TRIALS_UNTIL, SWEEP_UNTIL = 0.5, 0.68
# A candidate has to be this much faster than the budget: its quick measurement is noisier than the final one.
MARGIN = 0.03


@dataclass(frozen=True)
class Clock:
    """When a search began (`time.monotonic` seconds) and how long it may take."""

    start: float
    seconds: float

    def at(self, share: float) -> float:
        """The moment at which `share` of the time is over."""
        return self.start + share * self.seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start


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
        resume: continue the study in `out` (after Ctrl-C or a kill); completed trials are kept and not paid for again.
        progress: told of every step; default: lines and a bar on standard error.

    Raises:
        ConfigError: malformed space, or nothing to resume from. DataError: text, or a disk that is full. MissingDependency.
    """
    space = space if isinstance(space, Space) else read_space(space)
    space = space.quick() if quick else space
    folder = None if text is None else Path(text)
    if progress is not None:
        return run_search(space, Path(out), text=folder, resume=resume, progress=progress)
    with RichProgress(space.effort.seconds) as bar:
        return run_search(space, Path(out), text=folder, resume=resume, progress=bar)


def run_search(
    space: Space,
    out: Path,
    *,
    text: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> SearchResult:
    """See `search`, which this is without reading files and without a bar."""
    clock = Clock(time.monotonic(), space.effort.seconds)
    progress = progress or Silent()
    try:
        out.mkdir(parents=True, exist_ok=True)
        shapes = legal_shapes(space)
        progress.phase("loading model and text")
        task = make_task(space.task, space.options, text)
        bench = Bench(task, out / "work")
        bench.prepare()
        study = open_study(space, shapes, out, resume=resume, conditions=_conditions(task))
        progress.phase("measuring the dense engines")
        jobs, failures = bench.dense_jobs()
        dense = bench.compare(jobs, failures, Protocol.quick())
        budget_ms = budget_of(space.latency, dense, space.name)
        setup = clock.elapsed
        _tell_baselines(progress, dense, budget_ms)
        progress.phase("measuring the curvature of every gated layer")
        evaluator = _evaluator(task, space, bench, study, budget_ms * (1 - MARGIN))
        _run_trials(study, evaluator, dense, clock, progress)
        _run_sweep(study, evaluator, dense, clock, progress)
        winner = best_of(study.candidates(), evaluator.budget_ms)
        if winner is None:
            raise ConfigError(
                f"{space.name}: no candidate could be built and measured; the first failure: {_failure(study)}"
            )
        result = finish(
            evaluator, study, winner, jobs, failures, out, clock.at(1.0) - setup, budget_ms, progress
        )
        result.save(out / RESULT)
    except OSError as error:
        raise DataError(
            f"search: {out} can't be written ({error.strerror or error}); free disk space or choose another --out, then continue "
            "with --resume: completed trials are kept"
        ) from error
    return result


def legal_shapes(space: Space) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each group of blocks the shapes that this machine's target has a kernel for. Raises ConfigError if that leaves none."""
    target = load_target("native")
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for group in space.gates:
        if group.kind == "block":
            found[group.name] = tuple(shape for shape in group.shapes if target.block_efficiency(*shape) > 0)
            if not found[group.name]:
                legal = ", ".join(f"{rows}x{cols}" for rows, cols in target.blocks)
                raise ConfigError(
                    f"{space.name}: gates {group.name!r}: shapes: this machine has kernels for {legal or 'no block shape'}"
                )
    return found


def best_of(candidates: tuple[Candidate, ...], budget_ms: float) -> Candidate | None:
    """The trained candidate of best quality within the budget; else the fastest that was measured; None if there is none."""
    measured = [c for c in candidates if c.latency is not None and c.quality is not None]
    within = [
        c
        for c in measured
        if c.outcome == TRAINED and c.latency is not None and c.latency.median_ms <= budget_ms
    ]
    if within:
        return max(within, key=lambda c: c.quality or 0.0)
    return min(measured, key=lambda c: c.latency.median_ms if c.latency else 0.0, default=None)


def _evaluator(task: Task, space: Space, bench: Bench, study: Study, budget_ms: float) -> Evaluator:
    layers = gated_layer_names(task.dense(), space)
    curvature = measure_curvature(
        task.dense(), layers, task.calibration(), task.predict, seed=space.effort.seed
    )
    return Evaluator(task, space, curvature, bench, budget_ms, study.outcomes())


def _run_trials(
    study: Study, evaluator: Evaluator, dense: Mapping[str, Measurement], clock: Clock, progress: Progress
) -> None:
    progress.phase("trials: latency first, then brief training")
    model = _latency_model(study, dense, evaluator.budget_ms)
    if not study.candidates():
        for choices in first_guesses(study.space, study.shapes, model.live_for(evaluator.budget_ms)):
            study.enqueue(choices)
    slowest = 0.0
    while len(study.candidates()) - len(study.swept()) < study.space.effort.trials:
        begun = time.monotonic()
        # One trial always runs, however little time there is.
        if begun + slowest > clock.at(TRIALS_UNTIL) and study.candidates():
            return
        candidate = study.run_trial(evaluator)
        slowest = max(slowest, time.monotonic() - begun)
        progress.candidate(candidate, _best(study, evaluator))


def _run_sweep(
    study: Study, evaluator: Evaluator, dense: Mapping[str, Measurement], clock: Clock, progress: Progress
) -> None:
    """Points around the budget with the winner's shapes and proportions, for the Pareto front; the first may win."""
    progress.phase("sweep: budgets around the chosen one")
    slowest = 0.0
    for point in study.space.effort.sweep:
        start = best_of(study.candidates(), evaluator.budget_ms)
        begun = time.monotonic()
        if point in study.swept() or start is None or begun + slowest > clock.at(SWEEP_UNTIL):
            continue
        model = _latency_model(study, dense, evaluator.budget_ms)
        wanted = model.live_for(point * evaluator.budget_ms)
        study.enqueue(towards(study.space, Choices.from_params(start.choices), start.choices["live"], wanted))
        candidate = study.run_trial(evaluator, point=point)
        slowest = max(slowest, time.monotonic() - begun)
        progress.candidate(candidate, _best(study, evaluator))


def _latency_model(study: Study, dense: Mapping[str, Measurement], budget_ms: float) -> LatencyModel:
    points = [(outcome.live, outcome.latency.median_ms) for outcome in study.outcomes().values()]
    whole = dense[DENSE].median_ms if dense[DENSE].ok else 2.0 * budget_ms
    return LatencyModel.fit(whole, points)


def _best(study: Study, evaluator: Evaluator) -> Candidate | None:
    found = best_of(study.candidates(), evaluator.budget_ms)
    return found if found is not None and found.outcome == TRAINED else None


def _failure(study: Study) -> str:
    return next((c.error for c in study.candidates() if c.error), "none")


def _conditions(task: Task) -> str:
    return f"{task.source} {read_host().fingerprint()}"


def _tell_baselines(progress: Progress, dense: Mapping[str, Measurement], budget_ms: float) -> None:
    for name, measurement in dense.items():
        progress.note(f"  {name}: {measurement}")
    progress.note(f"  latency budget: {budget_ms:.3f} ms")
