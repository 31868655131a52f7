"""Claim: operators that only move numbers run at the speed of a copy, in the L2 cache, the L3 cache and memory.

    python benchmarks/bandwidth.py                      # everything
    python benchmarks/bandwidth.py build FOLDER
    python benchmarks/bandwidth.py time FOLDER

The profile of a call gives the time of each kernel, which is compared with PyTorch's copy of as many bytes and
PyTorch's own operator. Appends to ``benchmarks/results/bandwidth.jsonl``, with the time of an empty launch.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness import record
from harness.bandwidth import OPERATORS, Call, Operator

import l0compile as l0

WIDTH, ROWS = 768, (64, 1024, 16384)  # 0.2, 3 and 48 MiB
BLOCK_S = 0.05


def build(folder: Path) -> None:
    """Compile a model for each operator, for any number of rows."""
    dynamic = {"x": {0: "rows"}, "y": {0: "rows"}}
    for operator in OPERATORS:
        example = (torch.randn(64, WIDTH), torch.randn(64, WIDTH))
        model = l0.compile(Call(operator.function).eval(), example, dynamic_shapes=dynamic, engine="tvm")
        model.save(_artifact(folder, operator))


def _artifact(folder: Path, operator: Operator) -> Path:
    return folder / operator.name.replace(" ", "_")


def _median_us(call: Callable[[], Any]) -> float:
    call()
    samples: list[float] = []
    end = time.perf_counter() + BLOCK_S
    while len(samples) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        samples.append((time.perf_counter() - begin) * 1e6)
    return median(samples)


def worker(engine: str, folder: Path) -> None:
    """Print the microseconds of every operator and size, or of copies, as JSON."""
    torch.manual_seed(0)
    found: dict[str, float] = {"launch": _launch()} if engine == "l0compile" else {}
    for rows in ROWS:
        x, y = torch.randn(rows, WIDTH), torch.randn(rows, WIDTH)
        if engine == "copy":
            target = torch.empty_like(x)
            found[str(rows)] = _median_us(lambda a=target, b=x: a.copy_(b))  # type: ignore[misc]
            continue
        for operator in OPERATORS:
            if engine == "l0compile":
                profile = l0.load(_artifact(folder, operator)).profile(x, y)
                us = sum(function.ms for function in profile.functions) * 1e3
            else:
                with torch.inference_mode():
                    us = _median_us(lambda f=operator.function, a=x, b=y: f(a, b))  # type: ignore[misc]
            found[f"{operator.name}, {rows}"] = us
    print(json.dumps(found))


def _launch() -> float:
    """Time a parallel loop that stores one number per thread, in microseconds."""
    from l0compile.hardware._tvm import TB, runtime, tvm, tvm_target
    from l0compile.hardware.targets import load_target
    from l0compile.kernels.cpu.lanes import body, kernel, param, store

    target = load_target("native")
    with kernel("launch") as builder:
        y = param("y", (target.cores, 16))
        with body(), TB.parallel(0, target.cores) as thread:
            store(y, TB.float32(1), thread, 0)
    function = builder.get().with_attr("global_symbol", "main")
    call = tvm.compile(function, target=tvm_target(target))["main"]
    given = runtime.from_dlpack(torch.zeros(target.cores, 16))
    return _median_us(lambda: call(given))


def run(folder: Path) -> None:
    """Each engine in its own process, one after the other."""
    times = {}
    for engine in ("copy", "pytorch", "l0compile"):
        command = [sys.executable, __file__, "worker", str(folder), engine]
        times[engine] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    record.append("bandwidth", {"name": "launch", "us": round(times["l0compile"].pop("launch"), 2)})
    for operator in OPERATORS:
        for rows in ROWS:
            key = f"{operator.name}, {rows}"
            copy = times["copy"][str(rows)] * operator.moved / 2
            ours, theirs = times["l0compile"][key], times["pytorch"][key]
            record.append("bandwidth", {
                "name": operator.name, "mib": round(rows * WIDTH / 2**18, 2), "us": round(ours, 1),
                "pytorch_us": round(theirs, 1), "copy_us": round(copy, 1), "of_copy_speed": round(copy / ours, 2),
            })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", nargs="?", choices=("all", "build", "time", "worker"), default="all")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("engine", nargs="?", help="of a worker")
    given = parser.parse_args()
    if given.step == "worker":
        worker(given.engine, given.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if given.step in ("all", "build"):
            build(folder)
        if given.step in ("all", "time"):
            run(folder)


if __name__ == "__main__":
    main()
