"""Measure every schedule worth a try of every work given, each in a process that may crash, and remember the times.

Nothing is timed while something is built: works go in batches, first all libraries of a batch are built, then one
process after another times them. What a batch gave is on disk before the next begins, so that an interrupted search
goes on where it was.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile.costs import CostKey, Database, Record, Work
from l0compile.costs import place as place_of
from l0compile.costs.text import work_fields
from l0compile.errors import TargetError
from l0compile.kernels import LinearSchedule, TokenTile
from l0compile.measure.json_process import JsonProcess
from l0compile.schedule import token_tile
from l0compile.schedule.work import schedule_data
from l0compile.targets import Target
from l0compile.tune.libraries import Libraries, worker
from l0compile.tune.space import candidates

_BATCH = 48  # schedules built before any is timed
_FINALISTS = 3
_QUIET = 1.1  # blocks, and turns, of an undisturbed timing differ by less than this ratio


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    seconds: of timing a schedule at first; finalists get five times as much. limit_s: for one build or timing.
    schedules: at most so many of a work, the default one among them; 1 finds no schedule but tells what it takes.
    """

    seconds: float = 0.004
    limit_s: float = 30.0
    schedules: int = 64


@dataclass(frozen=True)
class Progress:
    """done, total: works. phase: what is being done to the next ones."""

    done: int
    total: int
    phase: str


@dataclass(frozen=True)
class Job:
    """A work with the schedules of it that have no record yet."""

    key: CostKey
    schedules: tuple[LinearSchedule | None, ...]


def tune(
    works: Sequence[Work],
    target: Target,
    database: Database,
    plan: Plan | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    *,
    libraries: Path | None = None,
) -> int:
    """Measure what ``database`` does not hold yet; returns the number of records added.

    libraries: folder that keeps what is built, and may hold some already; default: a temporary one.

    Raises: TargetError for a target whose code does not run here. ConfigError for work that no kernel does.
    """
    tile, plan = token_tile(target), plan or Plan()
    jobs = missing(works, target, tile, database, plan.schedules)
    added = 0
    with tempfile.TemporaryDirectory(prefix="l0compile-") as folder:
        session = _Session(target, tile, plan, libraries or Path(folder))
        try:
            for done, batch in batches(jobs):
                progress(Progress(done, len(jobs), "building kernels"))
                session.libraries.build([(job.key.work, s) for job in batch for s in job.schedules])
                progress(Progress(done, len(jobs), "timing kernels"))
                added += database.add(session.measure(batch))
            progress(Progress(len(jobs), len(jobs), "done"))
        finally:
            session.close()
    return added


def missing(
    works: Sequence[Work], target: Target, tile: TokenTile, database: Database, most: int
) -> list[Job]:
    """What is left to measure of ``works``, each once, at most ``most`` schedules of each."""
    jobs = []
    for work in dict.fromkeys(works):
        place = place_of(target, work.op, tile.threads)
        if place is None:
            raise TargetError(f"tune: code for target {target.name} does not run on this machine")
        key = CostKey(work, place)
        known = {record.schedule for record in database.of(key)}
        schedules = tuple(s for s in candidates(work, tile)[:most] if schedule_data(s) not in known)
        if schedules:
            jobs.append(Job(key, schedules))
    return jobs


def batches(jobs: Sequence[Job]) -> Iterator[tuple[int, list[Job]]]:
    """(number of jobs before it, batch); works that share libraries come one after another."""
    ordered = sorted(jobs, key=lambda job: str((job.key.work.op, job.key.work.block, job.key.work.shape)))
    batch: list[Job] = []
    for done, job in enumerate(ordered):
        batch.append(job)
        if sum(len(each.schedules) for each in batch) >= _BATCH:
            yield done + 1 - len(batch), batch
            batch = []
    if batch:
        yield len(ordered) - len(batch), batch


Times = Mapping[tuple[CostKey, LinearSchedule | None], Mapping[str, Any]]


class _Session:
    """Libraries, and the process that times them."""

    def __init__(self, target: Target, tile: TokenTile, plan: Plan, folder: Path) -> None:
        self.target, self.tile, self.plan = target, tile, plan
        self.libraries = Libraries(folder, target, tile, plan.limit_s)
        self._timer: JsonProcess | None = None

    def close(self) -> None:
        self.libraries.close()
        if self._timer is not None:
            self._timer.close()

    def measure(self, batch: Sequence[Job]) -> list[Record]:
        """A record of each schedule in ``batch``: all are timed shortly, the quickest of each work again and longer.

        The rounds go over the whole batch, so that a disturbance of some tenths of a second does not meet a work twice;
        a work that was disturbed nevertheless has a third turn.
        """
        times: dict[tuple[CostKey, LinearSchedule | None], dict[str, Any]] = {}
        for job in batch:
            for schedule in job.schedules:
                times[job.key, schedule] = self._time(job.key.work, schedule, self.plan.seconds)
        for again in (_finalists, _disturbed):
            for job in batch:
                for schedule in again(job, times):
                    longer = self._time(job.key.work, schedule, 5 * self.plan.seconds)
                    times[job.key, schedule] = _quicker(times[job.key, schedule], longer)
        return [_record(key, schedule, answer) for (key, schedule), answer in times.items()]

    def _time(self, work: Work, schedule: LinearSchedule | None, seconds: float) -> dict[str, Any]:
        failure = self.libraries.failure((work, schedule))
        if failure:
            return {"error": failure}
        if self._timer is None or not self._timer.alive:
            if self._timer is not None:
                self._timer.close()
            # Two threads that meet on one core take twice as long, and may stay there longer than a timing lasts.
            self._timer = worker(self.target, self.tile.threads, pinned=True)
        library = str(self.libraries.path((work, schedule)))
        request = {"do": "time", "work": work_fields(work), "library": library, "seconds": seconds}
        return self._timer.ask(request, self.plan.limit_s)


def _finalists(job: Job, times: Times) -> list[LinearSchedule | None]:
    """The quickest schedules of a work, and the default one."""
    ran = [schedule for schedule in job.schedules if "ms" in times[job.key, schedule]]
    quickest = sorted(ran, key=lambda schedule: float(times[job.key, schedule]["ms"]))[:_FINALISTS]
    return [*quickest, *(schedule for schedule in ran[:1] if schedule not in quickest)]


def _disturbed(job: Job, times: Times) -> list[LinearSchedule | None]:
    """Those of ``_finalists`` whose blocks differ too much."""

    def spread(schedule: LinearSchedule | None) -> float:
        return float(times[job.key, schedule]["high_ms"]) / float(times[job.key, schedule]["low_ms"])

    return [schedule for schedule in _finalists(job, times) if spread(schedule) > _QUIET]


def _quicker(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The better of two answers: a time before an error, the shorter time first; it spans what both found."""
    if "error" in one or "error" in other:
        return other if "error" in one else one
    best = min(one, other, key=lambda answer: float(answer["ms"]))
    high = max(one["high_ms"], other["high_ms"])
    low, calls = min(one["low_ms"], other["low_ms"]), one["calls"] + other["calls"]
    return {**best, "low_ms": low, "high_ms": high, "calls": calls}


def _record(key: CostKey, schedule: LinearSchedule | None, answer: dict[str, Any]) -> Record:
    data = schedule_data(schedule)
    if "error" in answer:
        return Record(key, data, None, error=str(answer["error"]))
    return Record(key, data, **answer)  # the fields of a Timing
