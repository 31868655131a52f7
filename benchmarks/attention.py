"""Claim: attention at the machine's limit. The packed kernel against PyTorch, ONNX Runtime and OpenVINO.

    python benchmarks/attention.py                      # everything
    python benchmarks/attention.py build FOLDER         # kernels and ONNX files
    python benchmarks/attention.py time FOLDER --seconds 50

Operators are timed alone, each in its best layout and each engine in a process of its own; the engines take turns in
random order. ``time`` appends to ``benchmarks/results/attention.jsonl``, continues where the last run in FOLDER
stopped, and begins no case after ``--seconds``. GFLOP/s count the scores and values that a mask leaves alive.
"""

import argparse
import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from harness import record
from harness.attention import ENGINES, Case, build, calls

ROUNDS, BLOCK_S = 3, 0.04
# Threads of the last engine may spin this long before they sleep, and must not slow down the next one.
PAUSE_S = 0.05


def cases() -> list[Case]:
    """List the cases: heads as in MiniLM, BERT-base and Llama-style models, fewer of them for the longest sequences."""
    found = []
    for dim, heads in ((32, 12), (64, 12), (128, 8)):
        for tokens in (16, 64, 128, 512, 2048, 8192):
            some = heads if tokens <= 2048 else 2
            for mask in ("full", "causal", "padded"):
                found += [Case(dim, some, some, b, tokens, mask) for b in (1, 4) if b == 1 or tokens <= 512]
    shared = [
        (dim, tokens, mask) for dim in (64, 128) for tokens in (128, 512, 2048) for mask in ("full", "causal")
    ]
    found += [Case(dim, 8, 2, 1, tokens, mask) for dim, tokens, mask in shared]
    found += [Case(64, 8, kv, b, 1, "full", keys) for kv in (8, 2) for b in (1, 4) for keys in (128, 2048)]
    return found


def worker(engine: str, folder: Path) -> None:
    """Read cases, and answer each with the milliseconds of single calls."""
    for line in sys.stdin:
        call, samples = calls(engine, Case(**json.loads(line)), folder), []
        if call is not None:
            call()
            end = time.perf_counter() + BLOCK_S
            while time.perf_counter() < end or len(samples) < 3:
                begin = time.perf_counter()
                call()
                samples.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps(samples), flush=True)


def measure(case: Case, workers: dict[str, Any]) -> dict[str, list[float]]:
    """Measure a case: engine -> samples in ms, without engines that cannot compute it."""
    samples: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(ROUNDS):
        for name in random.sample(list(workers), len(workers)):
            time.sleep(PAUSE_S)
            workers[name].stdin.write(json.dumps(dataclasses.asdict(case)) + "\n")
            workers[name].stdin.flush()
            samples[name] += json.loads(workers[name].stdout.readline())
    return {name: times for name, times in samples.items() if times}


def run(folder: Path, seconds: float) -> None:
    """Measure the cases that have no result in FOLDER."""
    end, done = time.monotonic() + seconds, folder / "done"
    known = set(done.read_text().splitlines()) if done.exists() else set()
    started = {
        name: subprocess.Popen(
            [sys.executable, __file__, "worker", str(folder), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ENGINES
    }  # fmt: skip
    try:
        for case in cases():
            if case.name in known or time.monotonic() > end:
                continue
            samples = measure(case, started)
            record.append("attention", row(case, samples))
            with done.open("a") as file:
                file.write(case.name + "\n")
    finally:
        for process in started.values():
            process.kill()


def row(case: Case, samples: dict[str, list[float]]) -> dict[str, Any]:
    """Make a row: medians, their middle half, our GFLOP/s, and the time of the best other engine over ours."""
    middle = {name: round(median(times), 5) for name, times in samples.items()}
    spread = {name: [round(sorted(t)[len(t) * i // 4], 5) for i in (1, 3)] for name, t in samples.items()}
    best = min((name for name in middle if name != "l0compile"), key=lambda name: middle[name])
    return {
        "case": case.name, **dataclasses.asdict(case), "median_ms": middle, "quartiles_ms": spread,
        "gflops": round(case.flops / middle["l0compile"] / 1e6, 1),
        "best": best, "speedup": round(middle[best] / middle["l0compile"], 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", nargs="?", choices=("all", "build", "time", "worker"), default="all")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("engine", nargs="?", help="of a worker")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    if given.step == "worker":
        worker(given.engine, given.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if given.step in ("all", "build"):
            build(cases(), folder)
        if given.step in ("all", "time"):
            run(folder, given.seconds)


if __name__ == "__main__":
    main()
