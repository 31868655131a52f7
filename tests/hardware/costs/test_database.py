"""The database: merging is order-free, a crash loses nothing that was told to be there, writers do not meet."""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.errors import StorageError
from l0compile.hardware.costs import CostRecord, Database, default_path, merged
from tests.hardware.costs.records import record, records

SOME = st.lists(records(), max_size=8)


def stored(*batches: Iterable[CostRecord]) -> list[CostRecord]:
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder) / "db") as database:
        for batch in batches:
            database.add(batch)
        return database.records()


@given(SOME, SOME, SOME)
@settings(max_examples=15)
def test_merging_is_idempotent_commutative_and_associative(
    a: list[CostRecord], b: list[CostRecord], c: list[CostRecord]
) -> None:
    assert stored(a, b, c) == stored(c, a, b) == stored([*a, *b, *c], b, a)
    assert set(stored(a, b, c)) == set(merged([*a, *b, *c]).values())


@given(SOME)
@settings(max_examples=10)
def test_the_best_time_is_kept(some: list[CostRecord]) -> None:
    for kept in stored(some):
        rivals = [r for r in some if (r.key, r.schedule) == (kept.key, kept.schedule)]
        times = [r.ms for r in rivals if r.ms is not None]
        assert kept in rivals and kept.ms == min(times, default=None)


def test_add_counts_what_is_new_or_better(tmp_path: Path) -> None:
    with Database(tmp_path / "db") as database:
        assert database.add([record(2.0), record(3.0, rows=8)]) == 2
        assert database.add([record(2.0), record(3.5, rows=8)]) == 0
        assert database.add([record(1.0)]) == 1
        failed = replace(record(1.0, rows=2), ms=None, low_ms=None, high_ms=None, calls=0, error="crashed")
        database.add([failed])
        assert database.of(failed.key) == [record(1.0), record(3.0, rows=8), failed]
        assert database.of(record(1.0, tokens=9).key) == [] and len(database) == 3
        assert set(database.records(failed.key.place)) == set(database.records())
        assert database.records(replace(failed.key.place, device="another")) == []


def test_a_failure_among_the_records_adds_none(tmp_path: Path) -> None:
    def broken() -> Iterable[CostRecord]:
        yield record(1.0)
        raise RuntimeError("half way")

    with Database(tmp_path / "db") as database:
        with pytest.raises(RuntimeError):
            database.add(broken())
        assert len(database) == 0 and database.add([record(1.0)]) == 1


WRITER = """
import itertools, sys
from l0compile.hardware.costs import Database
from tests.hardware.costs.records import record
start, path = int(sys.argv[1]), sys.argv[2]
for number in itertools.count(start, 2) if len(sys.argv) < 4 else range(start, int(sys.argv[3]), 2):
    with Database(path) as database:
        database.add([record(1.0 + number, tokens=1 + number), record(1.0 + start, tokens=9999)])
    print(number, flush=True)
"""


def writer(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    both = [writer(str(start), path, "60") for start in (0, 1)]
    assert [process.wait(60) for process in both] == [0, 0]
    with Database(path, read_only=True) as database:
        found = {r.key.work.tokens: r.ms for r in database.records()}
    assert found == {1 + n: 1.0 + n for n in range(60)} | {9999: 1.0}
    for process in both:
        process.communicate()


def test_a_new_file_that_another_process_is_busy_with(tmp_path: Path) -> None:
    """SQLite refuses at once to log ahead there, whatever time it was given to wait."""
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    process = writer("0", str(tmp_path / "db"), "1")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)
    other.execute("ROLLBACK")
    other.close()
    assert process.wait(60) == 0 and process.communicate()[0] == "0\n"


def test_a_killed_writer_loses_nothing_that_was_told(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    process = writer("0", path)
    assert process.stdout is not None
    told = [int(text) for text in itertools.islice(process.stdout, 5)]
    os.kill(process.pid, signal.SIGKILL)
    told += [int(text) for text in process.communicate()[0].split()]
    with Database(path) as database:
        found = {r.key.work.tokens - 1 for r in database.records()} - {9998}
        assert set(told) <= found and database.add([record(0.5)]) == 1


def test_a_crash_in_the_middle_of_a_transaction_leaves_what_was_before(tmp_path: Path) -> None:
    with Database(tmp_path / "db") as database:
        database.add([record(2.0)])
    code = (
        "import os, sys; from l0compile.hardware.costs import Database\n"
        "database = Database(sys.argv[1]); run = database._connection.execute\n"
        "run('BEGIN IMMEDIATE'); run('DELETE FROM records'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "db")]).returncode == 9
    with Database(tmp_path / "db") as database:
        assert database.records() == [record(2.0)] and database.add([record(1.0)]) == 1


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to look at" * 100)
    before = text.read_bytes()
    with pytest.raises(StorageError, match="text: the database of costs cannot be used"):
        Database(text)
    assert text.read_bytes() == before
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE someone (elses TEXT)")
    connection.close()
    with pytest.raises(StorageError, match="other: is no database of costs"):
        Database(other)
    with pytest.raises(StorageError, match="cannot be used"):
        Database(tmp_path / "none", read_only=True)
    with pytest.raises(StorageError, match="cannot be used"):
        Database(text / "below")


def tampered(path: Path, *statements: str) -> Path:
    with Database(path) as database:
        database.add([record(1.0)])
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def test_a_hostile_database_is_refused(tmp_path: Path) -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END"
    for name, statement in {"trigger": trigger, "later": "PRAGMA user_version = 99"}.items():
        with pytest.raises(StorageError, match=f"{name}: was written by another version"):
            Database(tampered(tmp_path / name, statement))
    with (
        Database(tampered(tmp_path / "row", "UPDATE records SET record = '[[['")) as database,
        pytest.raises(StorageError, match="row: expected JSON"),
    ):
        database.records()
    cut = tampered(tmp_path / "cut")
    with cut.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    with Database(cut, read_only=True) as database, pytest.raises(StorageError, match="cut"):
        database.records()


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("L0COMPILE_COSTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "l0compile" / "costs.sqlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_path() == Path.home() / ".cache" / "l0compile" / "costs.sqlite"
    monkeypatch.setenv("L0COMPILE_COSTS", str(tmp_path / "mine"))
    assert default_path() == tmp_path / "mine"
