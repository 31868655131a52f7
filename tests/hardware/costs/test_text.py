"""Records as text: what is written is read back, and nothing else is taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import StorageError
from l0compile.hardware.costs import CostRecord, read_records, write_records
from l0compile.hardware.costs.text import line, parse
from tests.hardware.costs.records import record, records


@given(records())
def test_round_trip(given_record: CostRecord) -> None:
    text = line(given_record)
    assert "\n" not in text and parse(text, "here") == given_record and line(parse(text, "here")) == text


def test_a_file_is_written_in_a_fixed_order_and_read_back(tmp_path: Path) -> None:
    some = [record(2.0, tokens=8), record(1.0), record(3.0, rows=8)]
    assert write_records(tmp_path / "a", some) == 3 and write_records(tmp_path / "b", some[::-1]) == 3
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    (tmp_path / "a").write_text("# a comment\n\n" + (tmp_path / "a").read_text())
    assert set(read_records(tmp_path / "a")) == set(some)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


GOOD: dict[str, Any] = json.loads(line(record(1.0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ms": -1}, "ms: expected a positive number"),
        ({"ms": True}, "ms"),
        ({"ms": 10**400}, "ms"),
        ({"ms": None}, "expected a time, or else an error"),
        ({"error": "crashed"}, "expected a time, or else an error"),
        ({"density": 1.5}, "density: expected a positive number up to 1"),
        ({"tokens": 0}, "tokens: expected a whole number of at least 1"),
        ({"shape": [1.5]}, r"shape\[0\]: expected a whole number"),
        ({"shape": [1] * 17}, "at most 16 sizes"),
        ({"block": [4]}, "expected .rows, cols."),
        ({"block": [0, 1]}, r"block\[0\]: expected a whole number of at least 1, got 0"),
        ({"op": ""}, "op: expected text"),
        ({"schedule": [1]}, "schedule"),
        ({"schedule": {"rows": [1]}}, "schedule"),
        ({"surprise": 1}, "surprise: unknown key"),
    ],
)
def test_a_bad_value_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StorageError, match=f"^here: .*{message}"):
        parse(json.dumps(GOOD | change), "here")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"ms": NaN}', "[" * 10_000, "9" * 10_000, " " * 20_000]
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(StorageError, match=r"^here: "):
        parse(text, "here")


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_record_or_a_typed_error(text: str) -> None:
    with pytest.raises(StorageError):
        parse(text, "here")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        list(read_records(tmp_path / "nowhere"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StorageError, match="cannot be read"):
        list(read_records(tmp_path / "bytes"))
    (tmp_path / "long").write_text(line(record(1.0)) + "\n" + "x" * 100_000)
    with pytest.raises(StorageError, match="long:2: expected a line of at most"):
        list(read_records(tmp_path / "long"))
    with pytest.raises(StorageError, match="cannot be written"):
        write_records(tmp_path / "no" / "folder", [])
