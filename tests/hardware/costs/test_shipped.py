"""The records that come with l0compile."""

from l0compile.hardware.costs import merged, read_records
from l0compile.hardware.costs.text import line
from l0compile.hardware.targets import shipped_folder


def test_shipped_records_are_in_order_and_each_once() -> None:
    for path in shipped_folder("targets").glob("*.costs.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        records = list(read_records(path))
        assert lines == sorted(lines) == [line(record) for record in records]
        assert len(merged(records)) == len(records) and all(record.ms for record in records)
