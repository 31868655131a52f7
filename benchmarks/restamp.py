"""Keep cost records of kernels whose code was edited without a change of the result.

    python benchmarks/restamp.py OLD [--records FILE ...] [--write]

A cost record names the code that was timed by a hash of its source. After an edit that does not change the kernels (a
new name, a constant that moved), give a checkout of the commit before it as OLD. The kernel of every record with OLD's
stamp is emitted by both checkouts; if both give the same TensorIR, the record gets the stamp of this checkout. Other
records stay as they are: they only serve predictions until `l0compile tune` measures them again.

Prints how many records of each operator count as measured, before and after; writes only with --write.
"""

import argparse
import dataclasses
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Compare all records, print a report, and write with --write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="a checkout of the code that the records were measured with")
    parser.add_argument(
        "--records", type=Path, nargs="*", default=sorted((ROOT / "targets").glob("*.costs.jsonl"))
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--emit", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.emit:
        json.dump([list(pair) for pair in emitted(sys.stdin.read().splitlines())], sys.stdout)
        return
    for path in options.records:
        restamp(path, options.old.resolve(), options.write)


def restamp(path: Path, old: Path, write: bool) -> None:
    """Give the stamp of this checkout to the records in ``path`` whose kernels are the same here."""
    lines = path.read_text(encoding="utf-8").splitlines()
    before, after = (run(checkout, lines) for checkout in (old, ROOT))
    current, kept, found = Counter[str](), Counter[str](), []
    for text, (old_stamp, old_code), (new_stamp, new_code) in zip(lines, before, after, strict=True):
        record = json.loads(text)
        current[record["op"]] += record["versions"] == new_stamp
        if record["versions"] == old_stamp and old_code == new_code is not None:
            record["versions"] = new_stamp
        kept[record["op"]] += record["versions"] == new_stamp
        found.append(json.dumps(record))
    totals = Counter(json.loads(text)["op"] for text in lines)
    for op, total in totals.items():
        print(f"{path.name}: {op:10} {total:4} records, measured with this code: {current[op]} -> {kept[op]}")
    if write:
        path.write_text("".join(f"{text}\n" for text in sorted(found)), encoding="utf-8")


def run(checkout: Path, lines: list[str]) -> list[tuple[str, str | None]]:
    """Return (stamp, hash of the TensorIR or None) of each record, by the code in ``checkout``."""
    command = [sys.executable, str(Path(__file__).resolve()), "--emit", str(checkout)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        command,
        input="\n".join(lines),
        env=environment,
        stdout=subprocess.PIPE,  # what a kernel failed with goes to the terminal
        text=True,
        check=True,
        cwd=checkout,
    )
    return [(stamp, code) for stamp, code in json.loads(done.stdout)]


def emitted(lines: list[str]) -> Iterator[tuple[str, str | None]]:
    """Do what ``run`` does, with the l0compile that this process imports."""
    code = Code()
    known: dict[Any, str | None] = {}
    for text in lines:
        values = json.loads(text)
        target = code.target(values)
        key = json.dumps([values[name] for name in ("op", "shape", "threads", "tokens", "schedule")])
        key += str((values.get("block"), values.get("variant"), target.name))
        if key not in known:
            known[key] = code.hash(text, target, dict(values["schedule"]))
        yield code.stamp(values["op"], target), known[key]


class Code:
    """What this script needs of the imported l0compile, under any of the names that it has had."""

    def __init__(self) -> None:
        self.emit = importlib.import_module("l0compile.kernels").emit
        self.parse = first("l0compile.hardware.costs.text", "l0compile.costs.text").parse
        self.targets = first("l0compile.hardware.targets", "l0compile.targets")
        self.tiles = first("l0compile.kernels.token_tile", "l0compile.schedule.token_tile")
        self.costs = first("l0compile.kernels.costs", "l0compile.kernels.work", "l0compile.schedule.work")

    def target(self, values: dict[str, Any]) -> Any:
        """Return the shipped target that a record was measured for, with its threads."""
        names = [name for name in self.targets.list_targets() if name != "native"]
        found = [self.targets.load_target(name) for name in names]
        cpu = values["device"].rpartition("; ")[2]
        target = next(t for t in found if cpu == "".join((t.cpu, *t.attrs)))
        return dataclasses.replace(target, cores=values["threads"])

    def stamp(self, op: str, target: Any) -> str:
        """Return the ``versions`` that a record of ``op`` would have if it were measured now."""
        if hasattr(self.costs, "place_of"):
            text = importlib.import_module("l0compile.hardware.costs").versions_of(
                self.costs.costed_kernel(op).stamp(target.core)
            )
        else:
            text = first("l0compile.hardware.costs.place", "l0compile.costs.place").versions(op)
        return str(text)

    def hash(self, text: str, target: Any, schedule: dict[str, Any]) -> str | None:
        """Return the hash of the TensorIR of a record's kernel; None if this code has no such kernel."""
        work, tile = self.parse(text, "restamp").key.work, self.tiles.token_tile(target)
        data = tuple(sorted(schedule.items()))
        try:
            made = (
                self.costs.costed_kernel(work.op).schedule_from(data)
                if hasattr(self.costs, "costed_kernel")
                else self.costs.schedule_from(data)
            )
            script = self.emit(self.costs.spec_of(work, tile), tile, made).script()
        except Exception as error:
            print(f"{work.op} {work.shape} {schedule}: {error}", file=sys.stderr)
            return None
        return hashlib.sha256(script.encode()).hexdigest()


def first(*names: str) -> Any:
    """Import the first of some modules that exists."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names[0])


if __name__ == "__main__":
    main()
