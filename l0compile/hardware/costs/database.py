"""All records of a user's machines in one file that several processes may write to at once.

SQLite, because it gives what a file of lines does not without work of our own: a crash at any moment leaves either all
or nothing of a transaction, writers of several processes take turns, and one record is replaced without rewriting the
rest. Write-ahead logging lets compiles read while a tuner writes. Each row holds the record as its line of JSON, which
is checked as strictly as a file from elsewhere.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from l0compile.errors import StorageError
from l0compile.hardware.cache_folder import user_folder
from l0compile.hardware.costs.record import CostKey, CostPlace, CostRecord, merged
from l0compile.hardware.costs.text import key_fields, line, parse

VARIABLE, SWITCHED_OFF = "L0COMPILE_COSTS", "off"
_APPLICATION, _FORMAT = 0x6C306363, 1
_BUSY_S, _RETRY_S = 30.0, 0.01
_TABLE = (
    "CREATE TABLE records (place TEXT NOT NULL, work TEXT NOT NULL, schedule TEXT NOT NULL, record TEXT NOT NULL, "
    "PRIMARY KEY (place, work, schedule)) WITHOUT ROWID"
)


def default_path() -> Path | None:
    """Where a user's records are: ``L0COMPILE_COSTS``, or ``costs.sqlite`` in the user's cache folder.

    None when ``L0COMPILE_COSTS`` is ``off``: then no records are used, not even the shipped ones.
    """
    given = os.environ.get(VARIABLE)
    if given == SWITCHED_OFF:
        return None
    if given:
        return Path(given)
    return user_folder() / "costs.sqlite"


class Database:
    """The records in one file. Use it in a ``with`` statement, in one thread.

    Args:
        path: the file; it is made, with its folder, if it is not there.
        read_only: the file must be there, and nothing is added.

    Raises:
        StorageError: the file cannot be opened, or is something else than a database of costs.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = Path(path)
        with self._errors():
            if not read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "ro" if read_only else "rwc"
            address = f"{self.path.resolve().as_uri()}?mode={mode}"
            self._connection = sqlite3.connect(address, _BUSY_S, isolation_level=None, uri=True)
        try:
            with self._errors():
                self._prepare(read_only)
        except StorageError:
            self._connection.close()
            raise

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was added is there already."""
        self._connection.close()

    def add(self, records: Iterable[CostRecord]) -> int:
        """Add all of ``records`` or, after an error, none; they are on disk when this returns.

        Of one key and schedule the better record stays, by ``CostRecord.rank``.

        Returns:
            How many were new or better than what was there.
        """
        changed = 0
        with self._errors(), self._transaction():
            for record in merged(records).values():
                row = _row(record)
                known = self._connection.execute(
                    "SELECT record FROM records WHERE place = ? AND work = ? AND schedule = ?", row[:3]
                ).fetchone()
                if known is None or record.rank < parse(known[0], str(self.path)).rank:
                    self._connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", row)
                    changed += 1
        return changed

    def records(self, place: CostPlace | None = None) -> list[CostRecord]:
        """All records, or those of one place, in a fixed order.

        Raises:
            StorageError: one is damaged, or the file cannot be read.
        """
        where, values = ("", ()) if place is None else (" WHERE place = ?", (_text(vars(place)),))
        with self._errors():
            rows = self._connection.execute(
                f"SELECT record FROM records{where} ORDER BY place, work, schedule", values
            ).fetchall()
        return [parse(str(row[0]), str(self.path)) for row in rows]

    def of(self, key: CostKey) -> list[CostRecord]:
        """The records of all schedules of one key, the best first and failed ones last."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT record FROM records WHERE place = ? AND work = ?", _names(key)
            ).fetchall()
        return sorted((parse(str(row[0]), str(self.path)) for row in rows), key=lambda record: record.rank)

    def __len__(self) -> int:
        with self._errors():
            return int(self._connection.execute("SELECT count(*) FROM records").fetchone()[0])

    def _prepare(self, read_only: bool) -> None:
        run = self._connection.execute
        run("PRAGMA trusted_schema = OFF")
        if not read_only and self._pragma("application_id") == 0 and not self._tables():
            self._log_ahead()
            with self._transaction():
                if not self._tables():  # another process may have been first
                    run(_TABLE)
                    run(f"PRAGMA application_id = {_APPLICATION}")
                    run(f"PRAGMA user_version = {_FORMAT}")
        if self._pragma("application_id") != _APPLICATION:
            raise StorageError(f"{self.path}: is no database of costs; give another file, or set {VARIABLE}")
        if self._pragma("user_version") != _FORMAT or self._tables() != [_TABLE]:
            raise StorageError(f"{self.path}: was written by another version of l0compile; give another file")
        run("PRAGMA synchronous = FULL")

    def _log_ahead(self) -> None:
        """Write ahead from now on. For this SQLite doesn't wait by itself when another process has a new file open."""
        begun = time.monotonic()
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() - begun > _BUSY_S:
                    raise
            time.sleep(_RETRY_S)

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _tables(self) -> list[str]:
        return [row[0] for row in self._connection.execute("SELECT sql FROM sqlite_master ORDER BY name")]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{self.path}: the database of costs cannot be used: {error}; delete it, or set {VARIABLE} to "
                "another file"
            ) from error


def _row(record: CostRecord) -> tuple[str, str, str, str]:
    return (*_names(record.key), _text(dict(record.schedule)), line(record))


def _names(key: CostKey) -> tuple[str, str]:
    fields = key_fields(key)
    place = {name: fields.pop(name) for name in vars(key.place)}
    return _text(place), _text(fields)


def _text(values: dict[str, object]) -> str:
    return json.dumps(values, sort_keys=True)
