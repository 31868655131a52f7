"""Set up a search: check the space, measure the dense model, and prune every layer."""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from l0compile.errors import BuildError, ConfigError
from l0compile.gates.feeds import consumers_of
from l0compile.hardware.targets import Target, list_targets, load_target, read_host
from l0compile.measurement import Measurement, Protocol, Stopwatch
from l0compile.measurement.stopwatch import Job
from l0compile.studies.bench.bench import ROUGH, Bench, only_predicted
from l0compile.studies.bench.engines import DENSE, NARROW, ROW_OF
from l0compile.studies.context import SearchContext, SearchOptions
from l0compile.studies.fit.budget import budget_of, check_reference
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import Fitter
from l0compile.studies.fit.heads import price_heads
from l0compile.studies.fit.units import units_of
from l0compile.studies.pruning.allocation import worth_pruning
from l0compile.studies.pruning.level import Numbers, Shape, has_kernel
from l0compile.studies.pruning.prices import Prices, linear_calls
from l0compile.studies.space.candidate import layers_of, unique
from l0compile.studies.space.space import Space
from l0compile.studies.study.clock import Clock
from l0compile.studies.study.progress import SearchProgress
from l0compile.studies.study.study import open_study
from l0compile.tasks import Task, make_task

# The dense models are measured until this share of the time at the latest.
SETUP_UNTIL = 0.35


def set_up(
    space: Space,
    options: SearchOptions,
    task: Task | None,
    stopwatch: Stopwatch,
    clock: Clock,
    progress: SearchProgress,
) -> SearchContext:
    """Build what the phases of a search share. Everything is checked before anything is measured.

    Args:
        space: the search space.
        options: where the search runs.
        task: the model and its data; None: the task that ``space`` names.
        stopwatch: the processes that time models.
        clock: of the search.
        progress: hears of every step.

    Raises:
        ConfigError: the space does not fit the target, or the study was made with another one.
        GateError: a pattern matches nothing.
        InfeasibleError: no model can keep a limit of the space.
        BuildError: the dense model can't be compiled or measured.
    """
    space = dataclasses.replace(space, precision=legal_precisions(space, options.target))
    shapes = legal_shapes(space, options.target)
    check_reference(space, only_predicted(options.target, options.device))
    progress.phase("loading model and data")
    task = task or make_task(space.task, space.options, options.text)
    groups = _checked_groups(task, space)
    bench = Bench(
        task, options.out / "work", options.target, options.device, space.latency.percentile, stopwatch
    )
    bench.prepare()
    if not options.resume:
        shutil.rmtree(bench.trainings, ignore_errors=True)
    conditions = f"{task.source} {options.target.name} {options.device or read_host().fingerprint()}"
    study = open_study(
        space, options.out, resume=options.resume, conditions=conditions, storage=options.storage, name=options.study
    )  # fmt: skip
    dense, jobs = measure_dense(space, bench, clock, progress)
    budget, prices = budget_of(space, dense, jobs), Prices.of(options.target)
    evaluator = prepare(task, space, groups, shapes, prices, options.out / "candidates", progress)
    evaluator.team = options.team
    evaluator.seen.update(study.outcomes())
    fitter = Fitter(evaluator, bench, budget, [(evaluator.menu.float_ms, budget.scaled(dense[DENSE], dense))])
    said = "" if bench.predicts else "measured: "  # a prediction says so itself
    fitter.told = lambda fitted: progress.note(f"  {said}{fitted.latency}, {fitted.load:.3f} of the budget")
    begun = time.monotonic()
    quality = task.quality(evaluator.origin, "validation")
    engines = ("l0compile",) if options.device or bench.predicts else space.engines
    narrow = len([engine for engine in engines if engine in NARROW])
    clock = clock.set_up(bench.final_seconds(len(engines), time.monotonic() - begun, narrow))
    return SearchContext(study, evaluator, fitter, prices, clock, progress, options, quality)


def measure_dense(
    space: Space, bench: Bench, clock: Clock, progress: SearchProgress
) -> tuple[dict[str, Measurement], dict[str, Job]]:
    """Measure the compiled dense model beside the budget's reference; other engines wait for the final table.

    Raises:
        BuildError: the dense model can't be compiled or measured.
    """
    progress.phase(
        "predicting the dense model"
        if bench.predicts
        else "measuring the dense model and the budget's reference"
    )
    needed = {"l0compile"} | ({space.latency.reference} if space.latency.ratio is not None else set())
    jobs, failures = bench.dense_jobs(needed)
    if DENSE in failures:
        raise BuildError(f"{space.name}: the dense model could not be compiled: {failures[DENSE]}")
    reference = ROW_OF[space.latency.reference]
    watched = tuple(dict.fromkeys((reference if reference in jobs else DENSE, DENSE)))
    protocol, until = bench.timed(Protocol.quick()), clock.start + SETUP_UNTIL * clock.seconds
    dense = bench.compare(jobs, failures, protocol, watched, width=ROUGH, until=until, told=progress.note)
    if bench.predicts:
        progress.note("  there is no GPU of the target here: all times are predicted, none is measured")
        if reason := bench.refusal():
            progress.note(f"  WARNING: the chosen model will be saved without code for the GPU: {reason}")
    for name, measurement in dense.items():
        progress.note(f"  {name}: {measurement}")
    if not dense[DENSE].ok:
        raise BuildError(
            f"{space.name}: the compiled dense model could not be measured: {dense[DENSE].error}"
        )
    return dense, jobs


def _checked_groups(task: Task, space: Space) -> dict[str, tuple[str, ...]]:
    """Return the layers of each group of gates, and check patterns, feeds and limits.

    Raises:
        GateError: a pattern of gates or of feeds matches nothing.
        InfeasibleError: no model can keep a limit of the space.
    """
    groups = layers_of(task.dense(), space)
    consumers_of(dict(task.dense().named_modules()), space.feeds)
    for constraint in space.constraints:
        constraint.plan(task.dense(), unique(groups.values()))
    return groups


def prepare(
    task: Task,
    space: Space,
    groups: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, tuple[Shape, ...]],
    prices: Prices,
    cache: Path,
    progress: SearchProgress,
) -> Evaluator:
    """Prune every layer to the block shapes that can win, and return what makes candidates of them.

    Args:
        task: the model and its data.
        space: the search space.
        groups: group of gates -> its layers.
        shapes: group of blocks -> the shapes that the target has kernels for.
        prices: of the target.
        cache: folder for what is computed.
        progress: hears how far it is.
    """
    progress.phase("pruning every gated layer, without training")
    model = task.dense()
    calls = linear_calls(model, unique(groups.values()), task.example())
    wanted: dict[str, tuple[Shape, ...]] = {}
    for group in space.gates:
        for name in groups[group.name] if group.kind == "block" else ():
            wanted[name] = worth_pruning(calls[name], shapes[group.name], prices, precisions=space.precision)
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        if (tenth := 10 * done // total) > told:
            told = tenth
            progress.note(f"  {done} of {total} (layer, block shape)")

    units, sites = units_of(task, space, groups, prices), price_heads(task, space, prices)
    return Evaluator.of(task, space, wanted, units, prices, cache, origin=model, sites=sites, told=tell)


def legal_shapes(space: Space, target: Target) -> dict[str, tuple[Shape, ...]]:
    """Return, for each group of blocks, the shapes that ``target`` has a kernel for.

    Shapes that only other targets have are left out.

    Raises:
        ConfigError: no shape of a group is left, or no target has a kernel for a shape.
    """
    everywhere = [load_target(name) for name in list_targets()]
    found: dict[str, tuple[Shape, ...]] = {}
    for group in space.gates:
        if group.kind == "block":
            strange = [shape for shape in group.shapes if not any(_made_for(shape, t) for t in everywhere)]
            found[group.name] = tuple(
                shape
                for shape in group.shapes
                if target.block_efficiency(*shape) > 0 and any(has_kernel(shape, p) for p in space.precision)
            )
            if strange or not found[group.name]:
                got = ", ".join(f"{rows}x{cols}" for rows, cols in strange or group.shapes)
                legal = ", ".join(f"{rows}x{cols}" for rows, cols in target.blocks) or "no block shape"
                columns = (
                    " whose columns are whole words of four (int8) or two (bfloat16) numbers" * space.narrow
                )
                raise ConfigError(
                    f"{space.name}: gates {group.name!r}: shapes: target {target.name} has kernels for {legal} and "
                    f"multiples of these{columns}, got {got}"
                )
    return found


def legal_precisions(space: Space, target: Target) -> tuple[Numbers, ...]:
    """Return the precisions of ``space`` that ``target`` has instructions for.

    Raises:
        ConfigError: none is left, or the space has heads or neurons beside narrow numbers, or patterns beside bfloat16.
    """
    others = [group for group in space.gates if group.kind != "block"]
    if space.narrow and others:
        raise ConfigError(
            f"{space.name}: precision: expected ['float32'] beside gates {others[0].name!r} of kind "
            f"{others[0].kind!r}, got {list(space.precision)}; leave one of the two out: what heads and neurons save "
            "among narrow numbers is not known"
        )
    if space.attention and "bfloat16" in space.precision:
        raise ConfigError(
            f"{space.name}: precision: expected no 'bfloat16' beside attention {space.attention[0].name!r}: with it "
            "the products of attention are rounded, which those of listed keys are not; leave one of the two out"
        )
    found = tuple(precision for precision in space.precision if target.multiplies(precision))
    if not found:
        raise ConfigError(
            f"{space.name}: precision: target {target.name} has no instructions for {', '.join(space.precision)} "
            "(see dot_products in its file); add 'float32'"
        )
    return found


def _made_for(shape: tuple[int, int], target: Target) -> bool:
    """Whether a target has a kernel for a shape, or for blocks (larger than 1x1) that it consists of."""
    rows, cols = shape
    return any(
        shape == own or (own != (1, 1) and rows % own[0] == cols % own[1] == 0) for own in target.blocks
    )
