"""Measure every schedule of every workload that is worth a try, each in a process that may crash, and record the times.

Nothing is timed while something is built: workloads go in batches, first all libraries of a batch are built, then they
are timed, here or on devices. The records of a batch are on disk before the next begins, so that an interrupted search
goes on where it was.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from l0compile.errors import TargetError
from l0compile.hardware.costs import CostKey, CostRecord, Database, KernelWorkload
from l0compile.hardware.targets import Target, host_supports
from l0compile.kernels import TokenTile
from l0compile.kernels.costs import machine_of, place_of, threads_of
from l0compile.kernels.definition import schedule_data
from l0compile.measurement.device import Device
from l0compile.measurement.tune.job import TuningJob
from l0compile.measurement.tune.libraries import Libraries
from l0compile.measurement.tune.space import candidates
from l0compile.measurement.tune.timers import Timers

_BATCH = 48  # schedules built before any is timed on one machine
_NOT_PROMISING = "not timed: what the compiler tells speaks for other schedules"
_BUILT = 128  # schedules of a workload for a GPU that are built, for the compiler's facts to choose from


@dataclass(frozen=True)
class TuningPlan:
    """How much to measure.

    Attributes:
        seconds: of timing a schedule at first; finalists get five times as much.
        limit_s: seconds that one build or timing may take.
        schedules: most schedules of a workload, the default one among them; 1 finds no schedule but tells its time.
    """

    seconds: float = 0.004
    limit_s: float = 30.0
    schedules: int = 64


@dataclass(frozen=True)
class TuningProgress:
    """How far a search is.

    Attributes:
        done: workloads measured.
        total: workloads to measure.
        phase: what is being done to the next ones.
    """

    done: int
    total: int
    phase: str


def tune(
    works: Sequence[KernelWorkload],
    target: Target,
    database: Database,
    plan: TuningPlan | None = None,
    progress: Callable[[TuningProgress], None] = lambda _: None,
    *,
    libraries: Path | None = None,
    device: str | None = None,
) -> int:
    """Measure what ``database`` does not hold yet; return the number of records added.

    Args:
        works: what to measure.
        target: what kernels are built for.
        database: where records are found and put.
        plan: how much to measure.
        progress: told before each step.
        libraries: folder that keeps what is built, and may hold some already; default: a temporary one.
        device: ``rpc://HOST:PORT/KEY``: kernels are timed on all devices that are free there at the beginning, each
            with a share of them, instead of here. ``target`` names it then (``measurement.device.device_and_target``).

    Raises:
        TargetError: the target's code does not run here.
        ConfigError: no kernel does some of the work.
        DeviceError: there is no device, or none is left; what was measured until then is kept.
    """
    machine, plan = machine_of(target), plan or TuningPlan()
    chosen_by_facts = target.kind == "cuda" and plan.schedules > 1
    most = max(plan.schedules, _BUILT) if chosen_by_facts else plan.schedules
    jobs = missing(works, target, machine, database, most)
    count = 1 if device is None else max(1, Device.parse(device).free())
    added = 0
    with tempfile.TemporaryDirectory(prefix="l0compile-") as folder:
        built = Libraries(libraries or Path(folder), target, machine, plan.limit_s)
        threads = 1 if target.kind == "cuda" else threads_of(machine)
        timers = Timers(built, target, threads, plan.seconds, plan.limit_s, device, count)
        try:
            for done, batch in batches(jobs, count * _BATCH):
                progress(TuningProgress(done, len(jobs), "building kernels"))
                built.build([(job.key.work, s) for job in batch for s in job.schedules])
                progress(TuningProgress(done, len(jobs), "timing kernels"))
                timed = [built.worth_timing(job, plan.schedules) for job in batch]
                added += database.add([*timers.measure(timed), *_left_out(batch, timed)])
            progress(TuningProgress(len(jobs), len(jobs), "done"))
        finally:
            built.close()
            timers.close()
    return added


def _left_out(batch: Sequence[TuningJob], timed: Sequence[TuningJob]) -> Iterator[CostRecord]:
    """Records of what was built and is not timed, so that the same command has nothing left to do."""
    for all_of_it, chosen in zip(batch, timed, strict=True):
        for schedule in all_of_it.schedules:
            if schedule not in chosen.schedules:
                yield CostRecord(chosen.key, schedule_data(schedule), None, error=_NOT_PROMISING)


def missing(
    works: Sequence[KernelWorkload],
    target: Target,
    machine: TokenTile | Target,
    database: Database,
    most: int,
) -> list[TuningJob]:
    """What is left to measure of ``works``, each once, at most ``most`` schedules of each.

    Raises:
        TargetError: the target's code does not run here.
        ConfigError: no kernel does some of the work.
    """
    jobs = []
    for work in dict.fromkeys(works):
        place = place_of(target, work.op, threads_of(machine))
        if place is None:
            raise TargetError(
                f"tune: code for target {target.name} does not run on this machine: {host_supports(target)}; run this "
                "where it does, or give a device behind a tracker: --target "
                f"'rpc://HOST:PORT/KEY?target={target.name}'"
            )
        key = CostKey(work, place)
        known = {record.schedule for record in database.of(key)}
        schedules = tuple(s for s in candidates(work, machine)[:most] if schedule_data(s) not in known)
        if schedules:
            jobs.append(TuningJob(key, schedules))
    return jobs


def batches(jobs: Sequence[TuningJob], size: int = _BATCH) -> Iterator[tuple[int, list[TuningJob]]]:
    """(number of jobs before it, batch of about ``size`` schedules); those that share libraries follow one another."""
    ordered = sorted(jobs, key=lambda job: str((job.key.work.op, job.key.work.block, job.key.work.shape)))
    batch: list[TuningJob] = []
    for done, job in enumerate(ordered):
        batch.append(job)
        if sum(len(each.schedules) for each in batch) >= size:
            yield done + 1 - len(batch), batch
            batch = []
    if batch:
        yield len(ordered) - len(batch), batch
