"""``python -m tests.fuzz --graphs 10000 --jobs 2``: many random graphs, in batches, each in a process of its own.

A crash of a process is a finding like a wrong answer: the graph it was at is printed. Ctrl-C prints what was found.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

VARIANTS = {"rewrite": 9, "full": 0, "torch": 0}
BATCH = {"rewrite": 20, "full": 10, "torch": 20}
TIMEOUT_S = 1800


def main() -> int:
    """Run; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--graphs", type=int, default=1000, help="how many sets of zeros in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--level",
        choices=[*VARIANTS],
        default="rewrite",
        help="the passes alone, with code generation, or with PyTorch as the engine",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch is not None:
        return _work(options)
    size = BATCH[options.level] * (VARIANTS[options.level] + 1)
    seeds = range(options.seed, options.seed + -(-options.graphs // size))
    return _supervise([*seeds], options.level, options.jobs)


def _work(options: argparse.Namespace) -> int:
    from tests.fuzz.batch import run_batch

    examples = BATCH[options.level]
    outcome = run_batch(options.batch, examples, options.level, VARIANTS[options.level])
    print(json.dumps(outcome.to_json()), flush=True)
    return 0


def _supervise(seeds: list[int], level: str, jobs: int) -> int:
    compared, skipped, failures = 0, Counter[str](), 0
    start = time.perf_counter()
    pool = ThreadPoolExecutor(jobs)
    waiting = {pool.submit(_batch, seed, level): seed for seed in seeds}
    try:
        for done in as_completed(waiting):
            result = done.result()
            compared += result["compared"]
            skipped.update(result["skipped"])
            if result["failure"]:
                failures += 1
                print(f"\nFOUND, seed {waiting[done]}\n{result['failure']}\n", flush=True)
            seconds = time.perf_counter() - start
            print(
                f"{compared} agree, {skipped.total()} skipped, {failures} found, {seconds:.0f} s", flush=True
            )
    except KeyboardInterrupt:
        print("stopped; batches not begun are left out", flush=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for reason, count in skipped.most_common():
        print(f"skipped {count}: {reason}")
    return int(failures > 0)


def _batch(seed: int, level: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.fuzz", "--level", level, "--batch", str(seed)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"compared": 0, "skipped": {}, "failure": f"no end within {TIMEOUT_S} s"}
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    if ran.returncode == 0 and lines:
        result: dict[str, Any] = json.loads(lines[-1])
        return result
    return {
        "compared": 0,
        "skipped": {},
        "failure": f"process ended with {ran.returncode}: {ran.stderr[-2000:]}",
    }


if __name__ == "__main__":
    sys.exit(main())
