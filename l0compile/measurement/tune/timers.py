"""Time the libraries of a batch: in one process here, or in one for each device, which times a share of them there."""

import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from l0compile.errors import DeviceError
from l0compile.hardware.costs import CostKey, CostRecord
from l0compile.hardware.costs.text import work_fields
from l0compile.hardware.targets import Target
from l0compile.kernels.definition import schedule_data
from l0compile.measurement.json_process import JsonProcess
from l0compile.measurement.tune.job import TuningJob
from l0compile.measurement.tune.libraries import Libraries, Variant, worker

_FINALISTS = 3
_QUIET = 1.1  # blocks, and turns, of an undisturbed timing differ by less than this ratio
# A kernel that a device died under twice is one that kills devices.
_TRIES = 2


Times = Mapping[tuple[CostKey, Any], Mapping[str, Any]]


class _Gone(Exception):
    """A device went away, and no other came."""


class Timer:
    """A process that times libraries, here or on a device of its own; a new one after each that died.

    Args:
        libraries: where they lie.
        target: what they are built for.
        threads: that kernels run on.
        limit_s: seconds that one timing may take.
        device: ``rpc://`` address of the device; None: here.
    """

    def __init__(
        self, libraries: Libraries, target: Target, threads: int, limit_s: float, device: str | None
    ) -> None:
        self._libraries, self._target, self._threads = libraries, target, threads
        self._limit_s, self._device = limit_s, device
        self._process: JsonProcess | None = None

    def close(self) -> None:
        """End the process, which gives the device back."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def time(self, variant: Variant, seconds: float) -> dict[str, Any]:
        """The fields of a ``Timing``, or an error.

        Raises:
            _Gone: the device went away, and no other came.
        """
        failure = self._libraries.failure(variant)
        if failure:
            return {"error": failure}
        request = {
            "do": "time",
            "work": work_fields(variant[0]),
            "library": str(self._libraries.path(variant)),
        }
        answer: dict[str, Any] = {}
        for _ in range(1 if self._device is None else _TRIES):
            answer = self._running().ask({**request, "seconds": seconds}, self._limit_s)
            if "lost" not in answer and self._running_still():
                break
            self.close()
        return {"error": answer["lost"]} if "lost" in answer else answer

    def _running_still(self) -> bool:
        return self._process is not None and self._process.alive

    def _running(self) -> JsonProcess:
        if not self._running_still():
            self.close()
            # Two threads that meet on one core take twice as long, and may stay there longer than a timing lasts.
            process, answer = worker(self._target, self._threads, pinned=True, device=self._device)
            if "error" in answer and self._device is not None:
                process.close()
                raise _Gone(answer["error"])
            self._process = process
        assert self._process is not None
        return self._process


class Timers:
    """Timers that share batches out among them; more than one only for devices.

    Args:
        libraries: where what is built lies.
        target: what it is built for.
        threads: that kernels run on.
        seconds: of timing a schedule at first; finalists get five times as much.
        limit_s: seconds that one timing may take.
        device: ``rpc://`` address of the devices; None: here.
        count: how many timers.
    """

    def __init__(
        self, libraries: Libraries, target: Target, threads: int, seconds: float, limit_s: float,
        device: str | None = None, count: int = 1,
    ) -> None:  # fmt: skip
        self._seconds = seconds
        self._timers = [Timer(libraries, target, threads, limit_s, device) for _ in range(count)]

    def close(self) -> None:
        """End the processes."""
        for timer in self._timers:
            timer.close()

    def measure(self, batch: Sequence[TuningJob]) -> list[CostRecord]:
        """A record of each schedule in ``batch``. What a device that went away had left, the others do.

        Raises:
            DeviceError: no device is left.
        """
        shares: queue.SimpleQueue[Sequence[TuningJob]] = queue.SimpleQueue()
        for first in range(len(self._timers)):
            shares.put(batch[first :: len(self._timers)])
        records: list[CostRecord] = []
        while not shares.empty():
            with ThreadPoolExecutor(len(self._timers)) as pool:
                done = list(pool.map(lambda timer: self._measure_shares(timer, shares), self._timers))
            records += [record for found, _ in done for record in found]
            lost = [reason for _, reason in done if reason is not None]
            self._timers = [
                timer for timer, (_, reason) in zip(self._timers, done, strict=True) if reason is None
            ]
            if not self._timers:
                raise DeviceError(
                    f"tune: no device is left ({lost[-1]}); what was measured before is kept: start the same command "
                    "again when devices are back"
                )
        return records

    def _measure_shares(
        self, timer: Timer, shares: "queue.SimpleQueue[Sequence[TuningJob]]"
    ) -> tuple[list[CostRecord], str | None]:
        """Records of the shares that one timer measured, and why it can measure no more; its last share is put back."""
        records: list[CostRecord] = []
        while True:
            try:
                share = shares.get_nowait()
            except queue.Empty:
                return records, None
            try:
                records += measure_share(timer, share, self._seconds)
            except _Gone as error:
                shares.put(share)
                return records, str(error)


def measure_share(timer: Timer, share: Sequence[TuningJob], seconds: float) -> list[CostRecord]:
    """A record of each schedule: all are timed shortly, the quickest of each work again and longer.

    The rounds go over the whole share, so that a disturbance of some tenths of a second does not meet a workload twice;
    one that was disturbed nevertheless has a third turn.
    """
    times: dict[tuple[CostKey, Any], dict[str, Any]] = {}
    for job in share:
        for schedule in job.schedules:
            times[job.key, schedule] = timer.time((job.key.work, schedule), seconds)
    for again in (_finalists, _disturbed):
        for job in share:
            for schedule in again(job, times):
                longer = timer.time((job.key.work, schedule), 5 * seconds)
                times[job.key, schedule] = _quicker(times[job.key, schedule], longer)
    return [_record(key, schedule, answer) for (key, schedule), answer in times.items()]


def _finalists(job: TuningJob, times: Times) -> list[Any]:
    """The quickest schedules of a workload, and the default one."""
    ran = [schedule for schedule in job.schedules if "ms" in times[job.key, schedule]]
    quickest = sorted(ran, key=lambda schedule: float(times[job.key, schedule]["ms"]))[:_FINALISTS]
    return [*quickest, *(schedule for schedule in ran[:1] if schedule not in quickest)]


def _disturbed(job: TuningJob, times: Times) -> list[Any]:
    """Those of ``_finalists`` whose blocks differ too much."""

    def spread(schedule: Any) -> float:
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


def _record(key: CostKey, schedule: Any, answer: dict[str, Any]) -> CostRecord:
    data = schedule_data(schedule)
    if "error" in answer:
        return CostRecord(key, data, None, error=str(answer["error"]))
    return CostRecord(key, data, **answer)  # the fields of a Timing
