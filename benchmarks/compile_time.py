"""Claim: compiling is quick. Cold compile of MiniLM in a fresh process, no tuning: import to check.

    python benchmarks/compile_time.py [--runs 3]

Appends to ``benchmarks/results/compile_time.jsonl``.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import record

CASES = {"dense": "minilm.encoder()", "4x1 blocks at density 0.2": "minilm.encoder((4, 1), 0.2)"}
CHILD = """
import sys, time; sys.path.insert(0, {folder!r})
from harness import minilm
model = {model}
start = time.perf_counter()
import l0compile as l0
l0.compile(model, minilm.inputs(2, 24), dynamic_shapes=minilm.DYNAMIC)
print(time.perf_counter() - start)
"""


def main() -> None:
    """Time each case in fresh processes; the model is loaded before the clock starts, TVM is imported after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="fresh processes a case (default 3)")
    runs = parser.parse_args().runs
    for name, model in CASES.items():
        code = CHILD.format(folder=str(Path(__file__).parent), model=model)
        seconds, walls = [], []
        for _ in range(runs):
            started = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            seconds.append(float(done.stdout.split()[-1]))
            walls.append(time.perf_counter() - started)
        row = {
            "name": name,
            "median_s": statistics.median(seconds),
            "limit_s": 15,
            "compile_s": seconds,
            "process_s": walls,
        }
        record.append("compile_time", row)


if __name__ == "__main__":
    main()
