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
from l0compile.measure import Measurement, Protocol
from l0compile.measure.device import device_and_target
from l0compile.oneshot.plan import worth_pruning
from l0compile.oneshot.prices import Prices, sites
from l0compile.oneshot.size import Sizes
from l0compile.result import RESULT, SearchResult
from l0compile.search.candidate import layers_of, unique
from l0compile.search.clock import Clock
from l0compile.search.evaluate import Evaluator
from l0compile.search.explore import Exploration
from l0compile.search.finish import finish
from l0compile.search.fit import Fitter
from l0compile.search.floor import first_share, quickest_above
from l0compile.search.halving import halve
from l0compile.search.latency import DENSE, ROW_OF, Bench, budget_of, compare_quietly
from l0compile.search.parts import parts_of
from l0compile.search.progress import Ledger, Progress, Silent
from l0compile.search.space import Space
from l0compile.search.study import STUDY, open_study
from l0compile.search.winner import train_winner
from l0compile.targets import Target, read_host
from l0compile.tasks import Task, Team, make_task


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
    out = place.out
    shapes = legal_shapes(space, place.target)
    progress.phase("loading model and text")
    task = task or make_task(space.task, space.options, text)
    groups = _groups(task, space)
    bench = Bench(task, out / "work", place.target, place.device, space.latency.percentile)
    bench.prepare()
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
    progress.phase("measuring the dense engines")
    jobs, failures = bench.dense_jobs()
    protocol = bench.timed(Protocol.quick())
    dense = compare_quietly(jobs, failures, protocol, (ROW_OF[space.latency.reference], DENSE), progress)
    budget = budget_of(space, dense, jobs)
    _tell_baselines(progress, dense)
    final_seconds = time.monotonic() - clock.start
    prices = Prices.of(place.target)
    evaluator = prepare(task, space, groups, shapes, prices, out / "candidates", progress)
    evaluator.team = place.team
    evaluator.seen.update(study.outcomes())
    if not dense[DENSE].ok:
        raise BuildError(f"{space.name}: the dense model could not be compiled: {dense[DENSE].error}")
    fitter = Fitter(evaluator, bench, budget, [(evaluator.menu.dense_ms, budget.scaled(dense[DENSE], dense))])
    exploration = Exploration(study, evaluator, fitter, prices, clock, progress)
    exploration.restore()
    if space.quality is not None:
        exploration.wanted = study.remembered("share") or first_share(fitter, space.quality, progress)
        study.remember("share", exploration.wanted)
    progress.note(f"  latency budget: {exploration.wanted * budget.ms:.3f} ms")
    exploration.run_trials()
    exploration.run_finalists()
    halve(exploration)
    winner = exploration.winner()
    if winner is None:
        errors = [item.error for item in exploration.failures] + [trial.error for trial in study.trials()]
        raise BuildError(f"{space.name}: no candidate could be built and measured: {errors[0]}")
    if not winner.fast_enough:
        progress.note(
            f"  WARNING: no candidate met the budget of {exploration.wanted * budget.ms:.3f} ms; going on with the "
            "fastest one. Widen the density ranges of the space, or raise the budget"
        )
    exploration.run_sweep()
    deadline = clock.winner_deadline(final_seconds)
    if space.quality is not None:
        trained = quickest_above(exploration, winner, space.quality, deadline)
    else:
        progress.phase("training the chosen candidate")
        trained = train_winner(exploration, winner, deadline)
    return finish(exploration, trained, jobs, failures, out)


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

    Raises ConfigError if none is left.
    """
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for group in space.gates:
        if group.kind == "block":
            found[group.name] = tuple(shape for shape in group.shapes if target.block_efficiency(*shape) > 0)
            if not found[group.name]:
                legal = ", ".join(f"{rows}x{cols}" for rows, cols in target.blocks) or "no block shape"
                raise ConfigError(
                    f"{space.name}: gates {group.name!r}: shapes: target {target.name} has kernels for {legal}"
                )
    return found


def _conditions(task: Task, place: Place) -> str:
    return f"{task.source} {place.target.name} {place.device or read_host().fingerprint()}"


def _tell_baselines(progress: Progress, dense: Mapping[str, Measurement]) -> None:
    for name, measurement in dense.items():
        progress.note(f"  {name}: {measurement}")
