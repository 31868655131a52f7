"""Claim: a change made nothing slower. Two checkouts of l0compile compile the same models and are timed in turns.

    python benchmarks/side_by_side.py ../before [--blocks 15] [--runs 3] [--cases minilm-dense resnet50]

Each checkout runs in a process of its own, which finds its code by ``PYTHONPATH``. Ratios are new over old; below 1
means that the change made it faster. Appends to ``benchmarks/results/side_by_side.jsonl``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import record

from l0compile.hardware.statistics import paired_ratio

HERE = Path(__file__).resolve().parents[1]
MINILM = "from harness import minilm; made = (minilm.encoder({}), minilm.inputs(1, 128), minilm.DYNAMIC)"
CASES = {
    "minilm-dense": MINILM.format(""),
    "minilm-4x1-0.2": MINILM.format("(4, 1), 0.2"),
    "minilm-4x4-0.1": MINILM.format("(4, 4), 0.1"),
    "bert-base": "from harness import full_size; made = full_size.bert_base()",
    "resnet50": "from harness import full_size; made = full_size.resnet50()",
}
CHILD = """
import hashlib, json, pathlib, sys, tempfile, time
sys.path.insert(0, "benchmarks")
{make}
start = time.perf_counter()
import l0compile as l0
compiled = l0.compile(made[0], made[1], dynamic_shapes=made[2], engine="tvm")
seconds = time.perf_counter() - start
with tempfile.TemporaryDirectory() as folder:
    compiled.save(pathlib.Path(folder) / "model")
    files = sorted(pathlib.Path(folder).rglob("*.so"))
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
print(json.dumps({{"compile_s": seconds, "code": code}}), flush=True)
for _ in range(20):
    compiled(*made[1])
for line in sys.stdin:
    times, end = [], time.perf_counter() + float(line)
    while time.perf_counter() < end:
        start = time.perf_counter()
        compiled(*made[1])
        times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps(sorted(times)[len(times) // 2]), flush=True)
"""


class Side:
    """The process of a checkout, with one compiled model."""

    def __init__(self, checkout: Path, make: str) -> None:
        """Compile the model that the code ``make`` builds; ``facts`` holds seconds and a digest of the machine code."""
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, "-c", CHILD.format(make=make)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, cwd=checkout, env=environment, **pipes)
        self.facts: dict[str, Any] = self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def block_ms(self, seconds: float) -> float:
        """Measure the median milliseconds of the calls that fit in ``seconds``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(name: str, before: Path, blocks: int, runs: int) -> dict[str, Any]:
    """Make a row: latency and compile time of both checkouts, and the ratio of latencies with its interval."""
    compiled: dict[str, list[float]] = {"old": [], "new": []}
    sides: dict[str, Side] = {}
    for run in range(runs):
        for label, checkout in (("old", before), ("new", HERE)):
            side = Side(checkout, CASES[name])
            compiled[label].append(side.facts["compile_s"])
            if run == runs - 1:
                sides[label] = side
            else:
                side.close()
    pairs = []
    for block in range(blocks):
        order = ["old", "new"] if block % 2 else ["new", "old"]
        times = {label: sides[label].block_ms(0.5) for label in order}
        pairs.append((times["old"], times["new"]))
    for side in sides.values():
        side.close()
    old, new = zip(*pairs, strict=True)
    found = paired_ratio(new, old)
    return {
        "name": name,
        "same_machine_code": sides["old"].facts["code"] == sides["new"].facts["code"],
        "ms": [statistics.median(old), statistics.median(new)],
        "ratio": [found.value, found.low, found.high],
        "compile_s": [min(compiled["old"]), min(compiled["new"])],
    }


def main() -> None:
    """Compare every case, and append one row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--blocks", type=int, default=15, help="timed blocks of half a second (default 15)")
    parser.add_argument("--runs", type=int, default=3, help="compiles in fresh processes (default 3)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    for name in args.cases:
        record.append("side_by_side", compare(name, args.before.resolve(), args.blocks, args.runs))


if __name__ == "__main__":
    main()
