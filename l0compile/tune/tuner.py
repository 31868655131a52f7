"""Measure every schedule worth a try of every work given, each in a process that may crash, and remember the times.

Nothing is timed while something is built: works go in batches, first all libraries of a batch are built by as many
processes as there are cores, then one process after another times them. What a batch gave is on disk before the next
begins, so that an interrupted search goes on where it was.
"""

import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile.artifact import dump_target
from l0compile.costs import CostKey, Database, Record, Work
from l0compile.costs import place as place_of
from l0compile.costs.text import work_fields
from l0compile.errors import TargetError
from l0compile.kernels import LinearSchedule, TokenTile
from l0compile.measure.json_process import JsonProcess
from l0compile.schedule import token_tile
from l0compile.schedule.work import schedule_data, spec_of
from l0compile.targets import Target, available_cores
from l0compile.tune.space import candidates

# Registers stored to the stack that are no fault: those that a called function keeps for its caller.
_SPILLS_ALLOWED = 8
_BATCH = 48  # libraries built before any is timed
_FINALISTS = 3
_QUIET = 1.1  # blocks, and turns, of an undisturbed timing differ by less than this ratio


@dataclass(frozen=True)
class Plan:
    """seconds: of timing a schedule at first; finalists get five times as much. limit_s: for one build or timing.
    schedules: at most so many of a work, the default one among them; 1 finds no schedule but tells what it takes."""

    seconds: float = 0.012
    limit_s: float = 30.0
    schedules: int = 64


@dataclass(frozen=True)
class Progress:
    """done, total: works. work: the one that is next, in words. phase: ``build`` or ``time``."""

    done: int
    total: int
    work: str
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
) -> int:
    """Measure what ``database`` does not hold yet; returns the number of records added.

    Raises: TargetError for a target whose code does not run here.
    """
    tile, plan = token_tile(target), plan or Plan()
    jobs = missing(works, target, tile, database, plan.schedules)
    added = 0
    with _Session(target, tile, plan) as session:
        for done, batch in _batches(jobs):
            progress(Progress(done, len(jobs), str(batch[0].key.work), "build"))
            session.build(batch)

            def note(number: int, done: int = done, batch: Sequence[Job] = batch) -> None:
                progress(Progress(done + number, len(jobs), str(batch[number].key.work), "time"))

            added += database.add(session.measure(batch, note))
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


def _batches(jobs: Sequence[Job]) -> Iterator[tuple[int, list[Job]]]:
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


class _Session:
    """Processes and libraries of one search."""

    def __init__(self, target: Target, tile: TokenTile, plan: Plan) -> None:
        self.target, self.tile, self.plan = target, tile, plan
        self.built: dict[tuple[object, LinearSchedule | None], Path | str] = {}
        self.timer: JsonProcess | None = None

    def __enter__(self) -> "_Session":
        self._folder = tempfile.TemporaryDirectory(prefix="l0compile-")
        return self

    def __exit__(self, *_: object) -> None:
        if self.timer is not None:
            self.timer.close()
        self._folder.cleanup()

    def build(self, batch: Sequence[Job]) -> None:
        """Build the libraries of ``batch`` that are not there; what fails is noted."""
        wanted: dict[tuple[object, LinearSchedule | None], Work] = {}
        for job in batch:
            for schedule in job.schedules:
                identity = self._identity(job.key.work, schedule)
                if identity not in self.built:
                    wanted.setdefault(identity, job.key.work)
        todo: queue.Queue[tuple[tuple[object, LinearSchedule | None], Work]] = queue.Queue()
        for item in wanted.items():
            todo.put(item)
        threads = [
            threading.Thread(target=self._build_some, args=(todo,))
            for _ in range(min(available_cores(), len(wanted)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            with todo.mutex:
                todo.queue.clear()
            raise

    def _build_some(self, todo: "queue.Queue[tuple[tuple[object, LinearSchedule | None], Work]]") -> None:
        process: JsonProcess | None = None
        while True:
            try:
                identity, work = todo.get_nowait()
            except queue.Empty:
                break
            if process is None or not process.alive:
                process = self._process(1)
            path = Path(self._folder.name) / f"{abs(hash(identity)):x}.so"
            request = {"do": "build", "work": work_fields(work), "schedule": dict(schedule_data(identity[1]))}
            answer = process.ask({**request, "library": str(path)}, self.plan.limit_s)
            self.built[identity] = _verdict(answer, path)
        if process is not None:
            process.close()

    def measure(self, batch: Sequence[Job], note: Callable[[int], None]) -> list[Record]:
        """A record of each schedule in ``batch``: all are timed shortly, the quickest of each work again and longer.

        The rounds go over the whole batch, so that a disturbance of some tenths of a second does not meet a work twice;
        a work that was disturbed nevertheless has a third turn.
        """
        times: dict[tuple[CostKey, LinearSchedule | None], dict[str, Any]] = {}
        for number, job in enumerate(batch):
            note(number)
            for schedule in job.schedules:
                times[job.key, schedule] = self._time(job.key.work, schedule, self.plan.seconds)
        for again in (_finalists, _disturbed):
            for job in batch:
                for schedule in again(job, times):
                    longer = self._time(job.key.work, schedule, 5 * self.plan.seconds)
                    times[job.key, schedule] = _quicker(times[job.key, schedule], longer)
        return [_record(key, schedule, answer) for (key, schedule), answer in times.items()]

    def _time(self, work: Work, schedule: LinearSchedule | None, seconds: float) -> dict[str, Any]:
        library = self.built[self._identity(work, schedule)]
        if isinstance(library, str):
            return {"error": library}
        if self.timer is None or not self.timer.alive:
            # Two threads that meet on one core take twice as long, and may stay there longer than a timing lasts.
            self.timer = self._process(self.tile.threads, pinned=True)
        request = {"do": "time", "work": work_fields(work), "library": str(library), "seconds": seconds}
        return self.timer.ask(request, self.plan.limit_s)

    def _process(self, threads: int, pinned: bool = False) -> JsonProcess:
        process = JsonProcess("l0compile.tune.worker", "tune", threads, pinned=pinned)
        process.ask({"target": dump_target(self.target)}, 120.0)
        return process

    def _identity(self, work: Work, schedule: LinearSchedule | None) -> tuple[object, LinearSchedule | None]:
        return spec_of(work, self.tile), schedule


Times = Mapping[tuple[CostKey, LinearSchedule | None], Mapping[str, Any]]


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
    calls = one["calls"] + other["calls"]
    low, high = min(one["low_ms"], other["low_ms"]), max(one["ms"], other["ms"])
    return {**best, "low_ms": low, "high_ms": max(high, best["high_ms"]), "calls": calls}


def _verdict(answer: dict[str, Any], path: Path) -> Path | str:
    """The library, or why there is none."""
    if "error" in answer:
        return str(answer["error"])
    spilled = int(str(answer["spills"]))
    return f"stores {spilled} registers to the stack" if spilled > _SPILLS_ALLOWED else path


def _record(key: CostKey, schedule: LinearSchedule | None, answer: dict[str, Any]) -> Record:
    data = schedule_data(schedule)
    if "error" in answer:
        return Record(key, data, None, error=str(answer["error"]))
    return Record(key, data, **answer)  # the fields of a Timing
