"""Claim: compiling is quick. MiniLM and BERT-base in a fresh process, without tuning, from the import to the check.

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

MINILM = "from harness import minilm; made = (minilm.encoder({}), minilm.inputs(2, 24), minilm.DYNAMIC)"
# name -> (statement that makes (model, inputs, dynamic shapes), limit in seconds)
CASES = {
    "dense": (MINILM.format(""), 15),
    "4x1 blocks at density 0.2": (MINILM.format("(4, 1), 0.2"), 15),
    "BERT-base, random weights": ("from harness import full_size; made = full_size.bert_base()", 30),
}
CHILD = """
import sys, time; sys.path.insert(0, {folder!r})
{make}
start = time.perf_counter()
import l0compile as l0
l0.compile(made[0], made[1], dynamic_shapes=made[2])
print(time.perf_counter() - start)
"""


def main() -> None:
    """Time each case in fresh processes; the clock starts after loading the model and before importing TVM."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="number of fresh processes per case (default 3)")
    runs = parser.parse_args().runs
    for name, (make, limit) in CASES.items():
        code = CHILD.format(folder=str(Path(__file__).parent), make=make)
        seconds, walls = [], []
        for _ in range(runs):
            started = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            seconds.append(float(done.stdout.split()[-1]))
            walls.append(time.perf_counter() - started)
        row = {
            "name": name,
            "median_s": statistics.median(seconds),
            "limit_s": limit,
            "compile_s": seconds,
            "process_s": walls,
        }
        record.append("compile_time", row)


if __name__ == "__main__":
    main()
