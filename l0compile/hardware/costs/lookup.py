"""What a kernel takes on one target: remembered where it was measured, predicted from what was measured near it."""

import functools
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log
from typing import Literal

from l0compile.errors import ConfigError
from l0compile.hardware.costs.database import Database, default_path
from l0compile.hardware.costs.features import Machine
from l0compile.hardware.costs.model import CostModel
from l0compile.hardware.costs.place import place, versions
from l0compile.hardware.costs.record import Record, Schedule, Work
from l0compile.hardware.costs.text import read_records
from l0compile.hardware.targets import Target
from l0compile.hardware.targets.shipped import shipped_folder

_log = logging.getLogger("l0compile")

# A time holds for densities this close to the measured one, in proportion.
_SAME_DENSITY = log(1.05)
# A schedule must be this much quicker than the default one: less may be chance, and another kernel is to be built.
HYSTERESIS = 0.95


@dataclass(frozen=True)
class Estimate:
    """Milliseconds of a call, and whether that work was measured or is predicted from others."""

    ms: float
    source: Literal["measured", "predicted"]


class Costs:
    """The records that hold on one target, and the model fitted to them."""

    def __init__(self, records: Iterable[Record], machine: Machine) -> None:
        """``records``: of one device and one number of threads. Those of other versions of the code only predict."""
        self.machine = machine
        self._records = list(records)
        self._measured: dict[Work, list[Record]] = {}
        for record in self._records:
            if record.ms is not None and record.key.place.versions == versions(record.key.work.op):
                work = replace(self._computed(record.key.work), density=1.0)
                self._measured.setdefault(work, []).append(record)

    def estimate(self, work: Work) -> Estimate | None:
        """What one call takes with the best schedule known; None when nothing like it was measured."""
        same = [
            record.ms * work.density / record.key.work.density
            for record in self._same(work)
            if record.ms is not None and _apart(record, work) <= _SAME_DENSITY
        ]
        if same:
            return Estimate(min(same), "measured")
        ms = self._model.predict(self._computed(work))
        return None if ms is None else Estimate(ms, "predicted")

    def schedule(self, work: Work, default: Schedule) -> Schedule:
        """The schedule that was quickest at the density nearest to that of ``work``; ``default`` where none was clearly
        quicker than it."""
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
        return CostModel(self._records, self.machine)

    def _same(self, work: Work) -> list[Record]:
        """Records of the same work at any density."""
        return self._measured.get(replace(self._computed(work), density=1.0), [])

    def _computed(self, work: Work) -> Work:
        """A register of tokens that is not full takes as long as a full one; a single token has code of its own."""
        return work if work.tokens <= 1 else replace(work, tokens=self.machine.computed(work.tokens))


def _apart(record: Record, work: Work) -> float:
    return abs(log(record.key.work.density / max(work.density, 1e-6)))


def costs_of(target: Target, tile_tokens: int, register_tokens: int) -> Costs | None:
    """What is known of ``target`` here: records of the user's database and those shipped; None where there are none.

    Args:
        tile_tokens, register_tokens: tokens that the target's kernels keep together, and compute at once.
    """
    path = default_path()
    if path is None or place(target, "linear") is None:
        return None
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _costs_of(target, (tile_tokens, register_tokens), str(path), changed)


@functools.lru_cache(maxsize=8)
def _costs_of(target: Target, tokens: tuple[int, int], path: str, _changed: int) -> Costs | None:
    here = place(target, "linear")
    assert here is not None
    found = [*shipped_records(), *(_users(path) if _changed else ())]
    records = [
        record
        for record in found
        if (record.key.place.device, record.key.place.threads) == (here.device, here.threads)
    ]
    return Costs(records, Machine(here.threads, *tokens, target.l2_bytes)) if records else None


@functools.cache
def shipped_records() -> tuple[Record, ...]:
    """The records that come with l0compile, of every device that they were measured on."""
    files = sorted(shipped_folder("targets").glob("*.costs.jsonl"))
    return tuple(record for file in files for record in read_records(file))


def _users(path: str) -> list[Record]:
    try:
        with Database(path, read_only=True) as database:
            return database.records()
    except ConfigError as error:
        # What a cache holds must not keep a model from being compiled.
        _log.warning("measured costs are left out: %s", error)
        return []
