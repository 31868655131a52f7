"""Claim: a server on N cores serves most calls with N callers in one process and one thread per call.

    python benchmarks/serving.py [--seconds 3] [--rounds 5] [--only mlp]

Models: a pruned encoder (4 layers of 384 features, 64 tokens, 80 % of its 4x1 blocks zero) and a small MLP.
Arrangements: one caller with N threads; N callers that wait for each other, with N threads; N callers of one model with
one thread each; N processes with one thread each. Every arrangement runs in processes of its own, which load the same
artifact, and all take turns. Appends to ``benchmarks/results/serving.jsonl``: calls per second, milliseconds per call
(median and 99th percentile), and megabytes of memory (shared pages are divided among the processes that share them).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from harness import record
from torch import nn

import l0compile as l0

# Name -> (processes, callers in each, threads of the model); "N" stands for the cores.
ARRANGEMENTS: dict[str, tuple[Any, Any, Any]] = {
    "1 caller, N threads": (1, 1, None),
    "N callers, N threads": (1, "N", None),
    "N callers, 1 thread": (1, "N", 1),
    "N processes, 1 thread": ("N", 1, 1),
}


class Mlp(nn.Sequential):
    """A small model, for which the overhead of a call matters."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def encoder(density: float) -> nn.Module:
    """Make an encoder with a share ``density`` of its 4x1 blocks left."""
    layer = nn.TransformerEncoderLayer(384, 12, 1536, batch_first=True, activation="gelu")
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                kept = torch.rand(weight.shape[0] // 4, weight.shape[1]) < density
                weight.mul_(kept.repeat_interleave(4, 0))
    return model


def models() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Make the models: name -> model and input."""
    torch.manual_seed(0)
    tokens = torch.randn(1, 64, 384)
    return {
        "pruned encoder": (encoder(0.2), tokens),
        "mlp": (Mlp().eval(), torch.randn(16, 64)),
    }


def serve(folder: Path, callers: int, threads: int | None, seconds: float) -> dict[str, Any]:
    """Wait for a line on standard input, then call the model in ``folder`` from ``callers`` threads."""
    model, x = l0.load(folder, threads=threads), _input(folder)
    times: list[list[float]] = [[] for _ in range(callers)]
    begin = threading.Barrier(callers + 1)

    def caller(found: list[float]) -> None:
        model(x)  # the first call of a thread makes what it needs
        begin.wait()
        begin.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            model(x)
            found.append((time.perf_counter() - start) * 1e3)

    running = [threading.Thread(target=caller, args=(found,)) for found in times]
    for thread in running:
        thread.start()
    begin.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    begin.wait()
    for thread in running:
        thread.join()
    return {"ms": [ms for found in times for ms in found], "mb": memory_mb()}


def memory_mb() -> float:
    """Return the memory of this process; a page that several processes share is divided among them."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _input(folder: Path) -> torch.Tensor:
    shape = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["inputs"][0]["shape"]
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def run(folder: Path, name: str, cores: int, seconds: float) -> dict[str, float]:
    """Run one arrangement once."""
    processes, callers, threads = (cores if value == "N" else value for value in ARRANGEMENTS[name])
    command = [sys.executable, __file__, "--child", str(folder), str(callers), str(threads or 0)]
    environment = {**os.environ, "TVM_NUM_THREADS": str(cores), "OMP_NUM_THREADS": str(cores)}
    command += ["--seconds", str(seconds)]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
    times = sorted(ms for each in found for ms in each["ms"])
    return {
        "calls_per_s": len(times) / seconds,
        "median_ms": statistics.median(times),
        "p99_ms": times[int(0.99 * len(times))],
        "mb": sum(each["mb"] for each in found),
    }


def main() -> None:
    """Measure every model in every arrangement, in turns, and append one row per model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each arrangement (default 5)")
    parser.add_argument("--only", help="one of the models")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        folder, callers, threads = args.child
        print(json.dumps(serve(Path(folder), int(callers), int(threads) or None, args.seconds)))
        return
    cores = len(os.sched_getaffinity(0))
    for model_name, (model, x) in models().items():
        if args.only not in (None, model_name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            l0.compile(model, (x,), engine="tvm").save(path)
            found: dict[str, list[dict[str, float]]] = {name: [] for name in ARRANGEMENTS}
            for _ in range(args.rounds):
                for name, results in found.items():
                    results.append(run(path, name, cores, args.seconds))
        row: dict[str, Any] = {"name": model_name, "callers": cores}
        for name, results in found.items():
            row[name] = {key: round(statistics.median(r[key] for r in results), 3) for key in results[0]}
        record.append("serving", row)


if __name__ == "__main__":
    main()
