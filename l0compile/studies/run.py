"""The search from beginning to end.

Baselines, trials, Pareto sweep, the winner trained and compiled, the final table.
"""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l0compile.errors import BuildError, ConfigError, DataError
from l0compile.gates.feeds import consumers_of
from l0compile.hardware.targets import Target, list_targets, load_target, read_host
from l0compile.measurement import Measurement, Protocol, Stopwatch
from l0compile.measurement.device import device_and_target
from l0compile.pruning.plan import worth_pruning
from l0compile.pruning.prices import Prices, sites
from l0compile.pruning.size import Sizes
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.finish import finish
from l0compile.studies.finish.quality_target import first_share, quickest_above
from l0compile.studies.finish.winner import Winner, train_winner
from l0compile.studies.fit.budgeted import budget_of, check_reference
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import HIGHEST, Fitter
from l0compile.studies.fit.latency import DENSE, ROUGH, ROW_OF, Bench, Job
from l0compile.studies.fit.parts import parts_of
from l0compile.studies.result import RESULT, SearchResult
from l0compile.studies.space.candidate import layers_of, unique
from l0compile.studies.space.space import REFERENCES, Space
from l0compile.studies.study.clock import Clock
from l0compile.studies.study.halving import halve
from l0compile.studies.study.progress import Ledger, Progress, Silent
from l0compile.studies.study.study import STUDY, open_study
from l0compile.tasks import Task, Team, make_task

# No measurement of dense models goes on after this share of the time.
SETUP_UNTIL = 0.35


def run_search(
    space: Space,
    out: Path,
    *,
    text: Path | None = None,
    task: Task | None = None,
    target: str = "native",
    quick: bool = False,
    resume: bool = False,
    storage: str | None = None,
    study: str = STUDY,
    progress: Progress | None = None,
    team: Team | None = None,
) -> SearchResult:
    """As `search`, for a space already read, and silent by default. task: instead of the one that `space` names."""
    space = space.quick() if quick else space
    clock = Clock(time.monotonic(), space.effort.seconds)
    device, code = device_and_target(target)
    place = Place(out, code, resume, storage, study, device, team)
    try:
        out.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(progress or Silent())
        result = _run(space, place, text, task, ledger, clock)
        spent = {"search seconds": round(time.monotonic() - clock.start), "allowed": space.effort.seconds}
        facts = {**result.facts, "time": spent, "seconds of each phase": ledger.close()}
        result = dataclasses.replace(result, facts=facts)
        result.save(out / RESULT)
    except OSError as error:
        raise DataError(
            f"search: {out} can't be written ({error.strerror or error}); free disk space or choose another --out, "
            "then continue with --resume: completed trials are kept"
        ) from error
    return result


@dataclass(frozen=True)
class Place:
    """Where a search leaves what it finds, and the target it is for.

    storage: URL of the study's storage; None: a file in `out`. study: its name there. device: where models are timed,
    as of ``Bench``. team: of processes that train.
    """

    out: Path
    target: Target
    resume: bool
    storage: str | None
    study: str
    device: str | None = None
    team: Team | None = None


def _run(
    space: Space, place: Place, text: Path | None, task: Task | None, progress: Progress, clock: Clock
) -> SearchResult:
    shapes = legal_shapes(space, place.target)
    check_reference(space)
    progress.phase("loading model and data")
    task = task or make_task(space.task, space.options, text)
    groups = _groups(task, space)
    with Stopwatch(told=lambda name, s: progress.note(f"  {name}: ready, after {s:.1f} s")) as stopwatch:
        bench = Bench(
            task, place.out / "work", place.target, place.device, space.latency.percentile, stopwatch
        )
        bench.prepare()
        return _search(space, place, bench, groups, shapes, progress, clock)


def _search(
    space: Space,
    place: Place,
    bench: Bench,
    groups: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, tuple[tuple[int, int], ...]],
    progress: Progress,
    clock: Clock,
) -> SearchResult:
    out, task = place.out, bench.task
    if not place.resume:
        shutil.rmtree(bench.trainings, ignore_errors=True)
    study = open_study(
        space,
        out,
        resume=place.resume,
        conditions=_conditions(task, place),
        storage=place.storage,
        name=place.study,
    )
    dense, jobs = measure_dense(space, bench, clock, progress)
    budget = budget_of(space, dense, jobs)
    prices = Prices.of(place.target)
    evaluator = prepare(task, space, groups, shapes, prices, out / "candidates", progress)
    evaluator.team = place.team
    evaluator.seen.update(study.outcomes())
    fitter = Fitter(evaluator, bench, budget, [(evaluator.menu.dense_ms, budget.scaled(dense[DENSE], dense))])
    fitter.told = lambda fitted: progress.note(
        f"  measured: {fitted.latency}, {fitted.load:.3f} of the budget"
    )
    exploration = Exploration(study, evaluator, fitter, prices, clock, progress)
    begun = time.monotonic()
    exploration.dense = task.quality(evaluator.origin, "validation")
    engines = 1 if place.device else len(REFERENCES)
    clock.begin(bench.final_seconds(engines, time.monotonic() - begun))
    exploration.restore()
    return finish(exploration, _explored(exploration), out)


def _explored(exploration: Exploration) -> Winner:
    """The phases in their order, up to the winner, trained."""
    study, clock, progress, fitter = (
        exploration.study, exploration.clock, exploration.progress, exploration.fitter,
    )  # fmt: skip
    space, budget = study.space, fitter.budget
    if space.quality is not None:
        exploration.wanted = study.remembered("share") or first_share(
            fitter, space.quality, progress, study.neutral()
        )
        study.remember("share", exploration.wanted)
    progress.note(f"  latency budget: {exploration.wanted * budget.ms:.3f} ms")
    exploration.run_trials()
    exploration.run_finalists()
    halve(exploration)
    if space.quality is None:
        exploration.run_sweep()
    winner = exploration.winner()
    if winner is None:
        errors = [item.error for item in exploration.failures] + [trial.error for trial in study.trials()]
        raise BuildError(f"{space.name}: no candidate could be built and measured: {errors[0]}")
    if winner.fitted.load > HIGHEST * exploration.wanted:
        progress.note(
            f"  WARNING: no candidate met the budget of {exploration.wanted * budget.ms:.3f} ms; going on with the "
            "fastest one. Widen the density ranges of the space, or raise the budget"
        )
    if space.quality is not None:
        exploration.run_sweep()
        deadline = clock.winner_deadline()
        trained = quickest_above(exploration, winner, space.quality, deadline)
    else:
        progress.phase("training the chosen candidate")
        trained = train_winner(exploration, winner, clock.winner_deadline())
    return trained


def measure_dense(
    space: Space, bench: Bench, clock: Clock, progress: Progress
) -> tuple[dict[str, Measurement], dict[str, Job]]:
    """The compiled dense model beside the budget's reference; other engines can wait for the final table.

    Raises BuildError where the dense model cannot be compiled.
    """
    progress.phase("measuring the dense model and the budget's reference")
    needed = {"l0compile"} | ({space.latency.reference} if space.latency.ratio is not None else set())
    jobs, failures = bench.dense_jobs(needed)
    if DENSE in failures:
        raise BuildError(f"{space.name}: the dense model could not be compiled: {failures[DENSE]}")
    reference = ROW_OF[space.latency.reference]
    watched = tuple(dict.fromkeys((reference if reference in jobs else DENSE, DENSE)))
    protocol, until = bench.timed(Protocol.quick()), clock.start + SETUP_UNTIL * clock.seconds
    dense = bench.compare(jobs, failures, protocol, watched, width=ROUGH, until=until, progress=progress)
    for name, measurement in dense.items():
        progress.note(f"  {name}: {measurement}")
    if not dense[DENSE].ok:
        raise BuildError(
            f"{space.name}: the compiled dense model could not be measured: {dense[DENSE].error}"
        )
    return dense, jobs


def _groups(task: Task, space: Space) -> dict[str, tuple[str, ...]]:
    """The layers of each group of gates. Raises ConfigError where no model of theirs can be as small as it has to, and
    GateError for patterns, of gates or of feeds, that match nothing."""
    groups = layers_of(task.dense(), space)
    consumers_of(dict(task.dense().named_modules()), space.feeds)
    if space.limits.artifact_mb is not None:
        Sizes.of(task.dense(), unique(groups.values())).check(1e6 * space.limits.artifact_mb)
    return groups


def prepare(
    task: Task,
    space: Space,
    groups: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, tuple[tuple[int, int], ...]],
    prices: Prices,
    cache: Path,
    progress: Progress,
) -> Evaluator:
    """Everything that candidates are made of; block shapes that can't win are left out."""
    progress.phase("pruning every gated layer, without training")
    model = task.dense()
    places = sites(model, unique(groups.values()), task.example())
    wanted: dict[str, tuple[tuple[int, int], ...]] = {}
    for group in space.gates:
        for name in groups[group.name] if group.kind == "block" else ():
            wanted[name] = worth_pruning(places[name], shapes[group.name], prices)
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        if (tenth := 10 * done // total) > told:
            told = tenth
            progress.note(f"  {done} of {total} (layer, block shape)")

    parts = parts_of(task, space, groups, prices)
    return Evaluator.of(task, space, wanted, parts, prices, cache, origin=model, told=tell)


def legal_shapes(space: Space, target: Target) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each group of blocks the shapes that `target` has a kernel for.

    A shape that some target has is left out where this one has no kernel for it. Raises ConfigError if none is left,
    and for a shape that no target has: it would only be cut up.
    """
    everywhere = [load_target(name) for name in list_targets()]
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for group in space.gates:
        if group.kind == "block":
            strange = [shape for shape in group.shapes if not any(_made_for(shape, t) for t in everywhere)]
            found[group.name] = tuple(shape for shape in group.shapes if target.block_efficiency(*shape) > 0)
            if strange or not found[group.name]:
                got = ", ".join(f"{rows}x{cols}" for rows, cols in strange or group.shapes)
                legal = ", ".join(f"{rows}x{cols}" for rows, cols in target.blocks) or "no block shape"
                raise ConfigError(
                    f"{space.name}: gates {group.name!r}: shapes: target {target.name} has kernels for {legal} and "
                    f"multiples of these, got {got}"
                )
    return found


def _made_for(shape: tuple[int, int], target: Target) -> bool:
    """Whether a target has a kernel for a shape, or for blocks larger than single weights that it is made of."""
    rows, cols = shape
    return any(
        shape == own or (own != (1, 1) and rows % own[0] == cols % own[1] == 0) for own in target.blocks
    )


def _conditions(task: Task, place: Place) -> str:
    return f"{task.source} {place.target.name} {place.device or read_host().fingerprint()}"
