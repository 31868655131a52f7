"""Claim: calling a small compiled model costs less than calling it in PyTorch: microseconds of a call.

    python benchmarks/small_calls.py [--cases "8 -> 8" ...] [--engines ours eager torch.compile]

A call of so small a model is spent on checks, memory and waking threads rather than on numbers. Each engine runs each
case in a process of its own, with its own number of threads: 40 blocks of 500 calls back to back, their median
and its 95 % bootstrap interval. ``ours`` is held to TVM; unasked, ``l0compile.compile`` takes the faster engine.

Appends to ``benchmarks/results/small_calls.jsonl``.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from harness import record
from scipy import stats
from torch import nn

import l0compile as l0

BLOCKS, CALLS = 40, 500
ENGINES: dict[str, Callable[[nn.Module, torch.Tensor], Callable[..., Any]]] = {
    "ours": lambda model, x: l0.compile(model, (x,), engine="tvm"),
    "eager": lambda model, x: model,
    "torch.compile": lambda model, x: torch.compile(model),
}


def mlp() -> nn.Module:
    """Two layers of 64."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, int]]] = {
    "8 -> 8": (lambda: nn.Linear(8, 8), (1, 8)),
    "64 -> 64 -> 64": (mlp, (1, 64)),
    "64 -> 64 -> 64, 8 rows": (mlp, (8, 64)),
}


def main() -> None:
    """Measure every case and engine in processes of their own, or be such a process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="*", choices=CASES, default=tuple(CASES))
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=tuple(ENGINES))
    parser.add_argument("--child", nargs=2, metavar=("CASE", "ENGINE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(*options.child)))
        return
    for case in options.cases:
        found = {engine: child(case, engine) for engine in options.engines}
        record.append("small_calls", {"name": case, "blocks": BLOCKS, "calls": CALLS, "us": found})


def child(case: str, engine: str) -> dict[str, float]:
    """Return the figures that a fresh process prints."""
    command = [sys.executable, __file__, "--child", case, engine]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measured(case: str, engine: str) -> dict[str, float]:
    """Return the median of the blocks in microseconds a call, and its interval."""
    torch.manual_seed(0)
    make, shape = CASES[case]
    model, x = make().eval().requires_grad_(False), torch.randn(shape)
    with torch.no_grad():
        expected = model(x)
        call = ENGINES[engine](model, x)
        torch.testing.assert_close(call(x), expected, rtol=1e-5, atol=1e-5)
        block(call, x)
        blocks = np.array([block(call, x) for _ in range(BLOCKS)])
    interval = stats.bootstrap((blocks,), np.median, rng=0).confidence_interval
    return {
        "median": round(float(np.median(blocks)), 2),
        "low": round(float(interval.low), 2),
        "high": round(float(interval.high), 2),
    }


def block(call: Callable[..., Any], x: torch.Tensor) -> float:
    """Return the microseconds that one of many calls took."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call(x)
    return (time.perf_counter() - start) / CALLS * 1e6


if __name__ == "__main__":
    main()
