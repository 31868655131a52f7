"""Records as lines of JSON: what is exported, merged, shipped in the wheel, and stored in the database."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from l0compile.errors import StorageError
from l0compile.hardware.costs.record import CostKey, CostPlace, CostRecord, KernelWorkload, ScheduleData

_LONGEST_LINE = 16_384
_KEY = ("op", "shape", "block", "density", "tokens", "variant", "dtype", "device", "threads", "versions")
_FIELDS = (*_KEY, "schedule", "ms", "low_ms", "high_ms", "calls", "date", "error")


def read_records(path: str | os.PathLike[str]) -> Iterator[CostRecord]:
    """The records of a file written by ``write_records``; empty lines and lines that start with ``#`` are skipped.

    Raises ``StorageError``, with file and line, for what is no record, and for a file that cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), ""), 1):
                if line.strip() and not line.startswith("#"):
                    yield parse(line, f"{os.fspath(path)}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{os.fspath(path)}: records of costs cannot be read: {error}") from error


def write_records(path: str | os.PathLike[str], records: Iterable[CostRecord]) -> int:
    """Write ``records``, one a line in a fixed order, and return how many; an older file is replaced at once.

    Raises ``StorageError`` when the file cannot be written.
    """
    lines = sorted(line(record) for record in records)
    part = Path(f"{os.fspath(path)}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(f"{text}\n" for text in lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"{os.fspath(path)}: cannot be written: {error}") from error
    return len(lines)


def line(record: CostRecord) -> str:
    """One line of JSON; equal records give equal lines. What is empty is left out."""
    values = {**key_fields(record.key), "schedule": dict(record.schedule), "ms": record.ms}
    if record.ms is not None:
        values |= {"low_ms": record.low_ms, "high_ms": record.high_ms, "calls": record.calls}
    values |= {"date": record.date, "error": record.error}
    return json.dumps({k: v for k, v in values.items() if v not in ("", None)}, allow_nan=False)


def key_fields(key: CostKey) -> dict[str, Any]:
    """JSON values of a key, by the names of ``KernelWorkload`` and ``CostPlace``."""
    return {**work_fields(key.work), **vars(key.place)}


def work_fields(work: KernelWorkload) -> dict[str, Any]:
    """JSON values of a work, by the names of its fields."""
    block = None if work.block is None else list(work.block)
    return {**vars(work), "shape": list(work.shape), "block": block}


def work_from(values: Mapping[str, Any], where: str) -> KernelWorkload:
    """The work that ``work_fields`` gave ``values`` for. Raises ``StorageError``, starting with ``where``."""
    return _Reader(values, where).work()


def parse(text: str, where: str) -> CostRecord:
    """The record that ``line`` wrote. Raises ``StorageError``, starting with ``where``, for anything else."""
    if len(text) > _LONGEST_LINE:
        raise StorageError(f"{where}: expected a line of at most {_LONGEST_LINE} characters")
    try:
        values = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{where}: expected a record as JSON: {error}") from error
    if not isinstance(values, Mapping):
        raise StorageError(f"{where}: expected a JSON object, got {type(values).__name__}")
    unknown = sorted(set(values) - set(_FIELDS))
    if unknown:
        raise StorageError(f"{where}: unknown key {unknown[0]!r}: allowed are {', '.join(_FIELDS)}")
    return _Reader(values, where).record()


class _Reader:
    """Checked access to the values of one record."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def work(self) -> KernelWorkload:
        return KernelWorkload(
            op=self.text("op", required=True),
            shape=self.sizes("shape"),
            block=None if self.values.get("block") is None else self.pair("block"),
            density=self.number("density", most=1.0),
            tokens=self.count("tokens", least=1),
            variant=self.text("variant"),
            dtype=self.text("dtype", required=True),
        )

    def record(self) -> CostRecord:
        place = CostPlace(
            self.text("device", True), self.count("threads", least=1), self.text("versions", True)
        )
        ms = None if self.values.get("ms") is None else self.number("ms")
        low, high = (
            None if self.values.get(name) is None else self.number(name) for name in ("low_ms", "high_ms")
        )
        error = self.text("error")
        if (ms is None) != bool(error):
            raise self.refuse("ms", "a time, or else an error", self.values.get("ms"))
        calls = self.count("calls", least=0) if "calls" in self.values else 0
        return CostRecord(
            CostKey(self.work(), place), self.schedule(), ms, low, high, calls, self.text("date"), error
        )

    def text(self, name: str, required: bool = False) -> str:
        value = self.values.get(name, "")
        if not isinstance(value, str) or (required and not value):
            raise self.refuse(name, "text", value)
        return value

    def number(self, name: str, most: float = math.inf) -> float:
        value = self.values.get(name)
        # A whole number too large for a float would raise below.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= min(most, 1e12):
            raise self.refuse(
                name, f"a positive number{f' up to {most:g}' if most < math.inf else ''}", value
            )
        return float(value)

    def count(self, name: str, least: int) -> int:
        return self._count(name, self.values.get(name), least)

    def _count(self, name: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 53:
            raise self.refuse(name, f"a whole number of at least {least}", value)
        return value

    def sizes(self, name: str) -> tuple[int, ...]:
        value = self.values.get(name)
        if not isinstance(value, list) or len(value) > 16:
            raise self.refuse(name, "a list of at most 16 sizes", value)
        return tuple(self._count(name, size, 0) for size in value)

    def pair(self, name: str) -> tuple[int, int]:
        found = self.sizes(name)
        if len(found) != 2 or 0 in found:
            raise self.refuse(name, "[rows, cols]", list(found))
        return found[0], found[1]

    def schedule(self) -> ScheduleData:
        value = self.values.get("schedule")
        if not isinstance(value, Mapping) or not all(isinstance(v, bool | int | str) for v in value.values()):
            raise self.refuse("schedule", "an object of numbers, flags and words", value)
        return tuple(sorted(value.items()))

    def refuse(self, name: str, expected: str, got: Any) -> StorageError:
        return StorageError(f"{self.where}: key {name!r}: expected {expected}, got {str(got)[:200]!r}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
