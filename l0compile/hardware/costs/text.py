"""Records as lines of JSON: what is exported, merged, shipped in the wheel, and stored in the database."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from l0compile.errors import StorageError
from l0compile.hardware.costs.record import CostKey, CostPlace, CostRecord, KernelWorkload
from l0compile.ir.codec import Count, Meta, Natural, Positive, Text, decode_json, encode

_LONGEST_LINE = 16_384
_SIZES = Annotated[tuple[Natural, ...], Meta(max_length=16, description="a list of at most 16 sizes")]
_SHARE = Annotated[float, Meta(gt=0, le=1, description="a positive number up to 1")]
_BLOCK = Annotated[tuple[Count, Count], Meta(description="[rows, cols]")]
_SETTINGS = Annotated[dict[str, bool | int | str], Meta(description="an object of numbers, flags and words")]


@dataclass(frozen=True)
class _Line:
    """A ``CostRecord`` in JSON: the fields of its work, its place and its own, side by side."""

    op: Text
    shape: _SIZES
    density: _SHARE
    tokens: Count
    dtype: Text
    device: Text
    threads: Count
    versions: Text
    schedule: _SETTINGS
    block: _BLOCK | None = None
    variant: str = ""
    ms: Positive | None = None
    low_ms: Positive | None = None
    high_ms: Positive | None = None
    calls: Natural = 0
    date: str = ""
    error: str = ""

    def __post_init__(self) -> None:
        if (self.ms is None) != bool(self.error):
            raise ValueError(f"ms: expected a time, or else an error, got {self.ms!r} and {self.error!r}")


def read_records(path: str | os.PathLike[str]) -> Iterator[CostRecord]:
    """The records of a file written by ``write_records``; empty lines and lines that start with ``#`` are skipped.

    Raises:
        StorageError: the file cannot be read, or a line, which the message names, is no record.
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

    Raises:
        StorageError: the file cannot be written.
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
    """JSON values of a workload, by the names of its fields."""
    found: dict[str, Any] = encode(work)
    return found


def parse(text: str, where: str) -> CostRecord:
    """Return the record that ``line`` wrote.

    Raises:
        StorageError: the text is something else; the message begins with ``where``.
    """
    if len(text) > _LONGEST_LINE:
        raise StorageError(f"{where}: expected a line of at most {_LONGEST_LINE} characters")
    given = vars(decode_json(text, _Line, where))
    work, place, own = ({f.name: given[f.name] for f in fields(kind) if f.name in given} for kind in _PARTS)
    schedule = tuple(sorted(own.pop("schedule").items()))
    return CostRecord(CostKey(KernelWorkload(**work), CostPlace(**place)), schedule, **own)


_PARTS = (KernelWorkload, CostPlace, CostRecord)
