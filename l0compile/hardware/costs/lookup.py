"""What a kernel takes on one target: remembered where it was measured, predicted from what was measured near it."""

import functools
import logging
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log
from typing import Literal

from l0compile.errors import StorageError
from l0compile.hardware.costs.database import Database, default_path
from l0compile.hardware.costs.gpu import GpuModel
from l0compile.hardware.costs.machine import CountedKernel, Machine
from l0compile.hardware.costs.model import CostModel
from l0compile.hardware.costs.place import place
from l0compile.hardware.costs.record import CostRecord, KernelWorkload, ScheduleData
from l0compile.hardware.costs.text import read_records
from l0compile.hardware.targets import Target
from l0compile.hardware.targets.shipped import shipped_folder

_log = logging.getLogger("l0compile")

# A time holds for densities this close to the measured one, in proportion.
_SAME_DENSITY = log(1.05)
# A schedule must take at most this share of the default one's time: less may be chance, and costs a build.
HYSTERESIS = 0.95


@dataclass(frozen=True)
class Estimate:
    """Milliseconds of a call, and whether that work was measured or is predicted.

    low, high: where a prediction says so, the times between which the true one should lie.
    """

    ms: float
    source: Literal["measured", "predicted"]
    low: float | None = None
    high: float | None = None


class Costs:
    """The records that hold on one target, and the model fitted to them.

    Args:
        records: of one device and one number of threads; those of other versions of the code only help to predict.
        machine: that device.
        kernels: what is known of the kernels whose costs are asked.
        analytic: predicts what was not measured, instead of a model fitted to the records.
    """

    def __init__(
        self,
        records: Iterable[CostRecord],
        machine: Machine,
        kernels: Iterable[CountedKernel],
        analytic: GpuModel | None = None,
    ) -> None:
        self.machine, self.analytic = machine, analytic
        self._kernels = {kernel.op: kernel for kernel in kernels}
        self._records = list(records)
        self._measured: dict[KernelWorkload, list[CostRecord]] = {}
        self._corrections: dict[tuple[str, str], float] = {}
        for record in self._records:
            kernel = self._kernels.get(record.key.work.op)
            if record.ms is not None and kernel and record.key.place.versions == kernel.versions:
                work = replace(self._computed(record.key.work), density=1.0)
                self._measured.setdefault(work, []).append(record)

    def estimate(self, work: KernelWorkload) -> Estimate | None:
        """What one call takes with the best schedule known; None when nothing like it was measured."""
        same = [
            record.ms * work.density / record.key.work.density
            for record in self._same(work)
            if record.ms is not None and _apart(record, work) <= _SAME_DENSITY
        ]
        if same:
            return Estimate(min(same), "measured")
        if self.analytic is not None:
            found, by = self.analytic.predict(work), self._correction(work.op, work.dtype)
            if found is None:
                return None
            return Estimate(by * found.mid, "predicted", by * found.low, by * found.high)
        ms = self._model.predict(self._computed(work))
        return None if ms is None else Estimate(ms, "predicted")

    def _correction(self, op: str, dtype: str) -> float:
        """How much longer than predicted such kernels took on this card; 1 where none was measured.

        A measured time and a predicted one are compared when a format is chosen; without this the one that the model
        is further off with would win.
        """
        if (op, dtype) not in self._corrections and self.analytic is not None:
            best: dict[KernelWorkload, float] = {}
            for record in (r for same in self._measured.values() for r in same):
                work = record.key.work
                if (work.op, work.dtype) == (op, dtype) and record.ms is not None:
                    best[work] = min(record.ms, best.get(work, record.ms))
            predicted = {work: self.analytic.predict(work) for work in best}
            ratios = [ms / found.mid for work, ms in best.items() if (found := predicted[work]) is not None]
            self._corrections[op, dtype] = statistics.median(ratios) if ratios else 1.0
        return self._corrections[op, dtype]

    def schedule(self, work: KernelWorkload, default: ScheduleData) -> ScheduleData:
        """The schedule that was quickest at the density nearest to that of ``work``.

        ``default`` where none was clearly quicker than it, or nothing was measured.
        """
        records = self._same(work)
        if not records:
            return default
        nearest = min(_apart(record, work) for record in records)
        times = {
            record.schedule: record.ms
            for record in records
            if record.ms is not None and _apart(record, work) == nearest
        }
        best = min(times, key=lambda schedule: (times[schedule], schedule))
        return best if times[best] < HYSTERESIS * times.get(default, float("inf")) else default

    @functools.cached_property
    def _model(self) -> CostModel:
        return CostModel(self._records, self.machine, self._kernels)

    def _same(self, work: KernelWorkload) -> list[CostRecord]:
        """Records of the same work at any density."""
        return self._measured.get(replace(self._computed(work), density=1.0), [])

    def _computed(self, work: KernelWorkload) -> KernelWorkload:
        """A register of tokens that is not full takes as long as a full one; a single token has code of its own."""
        return work if work.tokens <= 1 else replace(work, tokens=self.machine.computed(work.tokens))


def _apart(record: CostRecord, work: KernelWorkload) -> float:
    return abs(log(record.key.work.density / max(work.density, 1e-6)))


def gpu_costs(target: Target, kernels: tuple[CountedKernel, ...] = ()) -> Costs:
    """What is known of a GPU: records of its card, if it is here, and an analytic model for all else.

    Args:
        target: a GPU.
        kernels: those whose records count.
    """
    path = default_path()
    known = path is not None and place(target, "") is not None
    changed = path.stat().st_mtime_ns if path and path.exists() else 0
    records = _records_of(target, str(path), changed) if known and kernels else []
    return Costs(records, Machine(target.cores, 1, 1, target.l2_bytes), kernels, GpuModel(target))


def known_costs(
    target: Target, tile_tokens: int, register_tokens: int, kernels: tuple[CountedKernel, ...]
) -> Costs | None:
    """What is known of ``target`` here: records of the user's database and those shipped; None where there are none.

    Args:
        target: what kernels are made for.
        tile_tokens: tokens that its kernels keep together.
        register_tokens: tokens that they compute at once.
        kernels: what is known of these kernels.
    """
    path = default_path()
    if path is None or place(target, "") is None:
        return None
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _known_costs(target, (tile_tokens, register_tokens), kernels, str(path), changed)


@functools.lru_cache(maxsize=8)
def _known_costs(
    target: Target, tokens: tuple[int, int], kernels: tuple[CountedKernel, ...], path: str, _changed: int
) -> Costs | None:
    records = _records_of(target, path, _changed)
    return Costs(records, Machine(target.cores, *tokens, target.l2_bytes), kernels) if records else None


def _records_of(target: Target, path: str, changed: int) -> list[CostRecord]:
    """Records of the device that runs code for ``target``, shipped and of the user."""
    here = place(target, "")
    assert here is not None
    return [
        record
        for record in (*shipped_records(), *(_users(path) if changed else ()))
        if (record.key.place.device, record.key.place.threads) == (here.device, here.threads)
    ]


@functools.cache
def shipped_records() -> tuple[CostRecord, ...]:
    """The records that come with l0compile, of every device that they were measured on."""
    files = sorted(shipped_folder("targets").glob("*.costs.jsonl"))
    return tuple(record for file in files for record in read_records(file))


def _users(path: str) -> list[CostRecord]:
    try:
        with Database(path, read_only=True) as database:
            return database.records()
    except StorageError as error:
        # What a cache holds must not keep a model from being compiled.
        _log.warning("measured costs are left out: %s", error)
        return []
