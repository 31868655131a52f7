"""Time calls of several engines, each in a process of its own, in turns of short blocks."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROUNDS, BLOCK_S, PAUSE_S = 5, 0.25, 0.05


def answer(call: Callable[[], Any]) -> None:
    """Call once, say "ready", and answer each line of seconds with the milliseconds of single calls."""
    call()
    print("ready", flush=True)
    for line in sys.stdin:
        samples: list[float] = []
        end = time.perf_counter() + float(line)
        while time.perf_counter() < end or len(samples) < 2:
            begin = time.perf_counter()
            call()
            samples.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps(samples), flush=True)


def measure(commands: Mapping[str, Sequence[str]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Start each engine's command, which runs ``answer``, and return engine -> milliseconds of calls.

    Raises:
        RuntimeError: an engine ended before it was ready.
    """
    environment, started = {**os.environ, "TVM_NUM_THREADS": "2"}, dict[str, Any]()
    samples: dict[str, list[float]] = {name: [] for name in commands}
    try:
        for name, command in commands.items():
            started[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        for name, process in started.items():
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{name} failed: {' '.join(commands[name])}")
        for _ in range(rounds):
            for name in random.sample(list(started), len(started)):
                time.sleep(PAUSE_S)
                process = started[name]
                process.stdin.write(f"{BLOCK_S}\n")
                process.stdin.flush()
                samples[name] += json.loads(process.stdout.readline())
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    return samples


def quartiles(samples: Mapping[str, Sequence[float]], digits: int) -> dict[str, list[float]]:
    """The middle half of each engine's times."""
    return {n: [round(sorted(t)[len(t) * i // 4], digits) for i in (1, 3)] for n, t in samples.items()}
