"""Claim: a linear layer compiled alone, rows in and rows out, runs at the machine's limit too.

    python benchmarks/lone_layers.py [--shapes 768,3072 ...]   every engine in a process of its own, then the report
    python benchmarks/lone_layers.py --engine ENGINE           one engine, in this process; keeps the lesser times
    python benchmarks/lone_layers.py --report [--record]       the figures; with --record, rows

What ``benchmarks/linear.py`` asks of kernels is asked here of what a user calls: ``l0compile.compile`` of one
``nn.Linear``, called with tokens in rows, at 128 tokens with blocks of zeros and at 1 to 16 tokens with a dense weight.
Efficiency is the time of the best dense engine times the share of the weights stored, over our time; points with an
ideal time of at least 50 microseconds count. Appends to ``benchmarks/results/lone_layers.jsonl``.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
from harness import linear_dense, linear_grid, record
from torch import nn

import l0compile as l0
from l0compile.hardware.targets import available_cores

FOLDER = Path("out") / "lone_layers"
SHAPES = ((768, 768), (3072, 768), (768, 3072), (1536, 384), (384, 1536))
BLOCKS = ((4, 1), (8, 1), (4, 4), (8, 8), (16, 16))
MANY, FEW = 128, (1, 4, 8, 16)
TURNS = 2  # of timing a point

Point = tuple[str, float, Any]  # name, share of the weights stored, call


def main() -> None:
    """Run the steps asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="*", default=[f"{n},{k}" for n, k in SHAPES])
    parser.add_argument("--engine", choices=(*linear_grid.ENGINES, "l0compile"))
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if args.engine:
        for shape in args.shapes:
            n, k = map(int, shape.split(","))
            time_engine(args.engine, n, k)
    elif not args.report:
        for engine in (*linear_grid.ENGINES, "l0compile"):
            command = [sys.executable, __file__, "--engine", engine, "--shapes", *args.shapes]
            subprocess.run(command, check=True)
    if not args.engine:
        report(args.record)


def time_engine(engine: str, n: int, k: int) -> None:
    """Time a shape, and keep the lesser of each time and that of earlier runs."""
    found = {}
    for name, stored, call in ours(n, k) if engine == "l0compile" else dense(engine, n, k):
        found[name] = [min(linear_grid.best_us(call) for _ in range(TURNS)), stored]
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{engine}_{n}_{k}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({name: min(value, before.get(name, value)) for name, value in found.items()}))


def dense(engine: str, n: int, k: int) -> Iterator[Point]:
    """List the calls of another engine."""
    for tokens in (*FEW, MANY):
        yield f"{tokens} dense 1.0", 1.0, linear_dense.prepare(engine, (n, k), tokens, available_cores())


def ours(n: int, k: int) -> Iterator[Point]:
    """List the calls of compiled layers, each checked against PyTorch."""
    torch.manual_seed(0)
    for tokens in (*FEW, MANY):
        yield compiled(nn.Linear(k, n), tokens, "dense", 1.0, 1.0)
    for rows, cols in BLOCKS:
        for density in linear_grid.DENSITIES:
            layer = nn.Linear(k, n)
            live = torch.rand(-(-n // rows), -(-k // cols)) < density
            whole = live.repeat_interleave(rows, 0).repeat_interleave(cols, 1)[:n, :k]
            layer.weight.data.mul_(whole)
            yield compiled(layer, MANY, f"{rows}x{cols}", density, float(whole.float().mean()))


def compiled(layer: nn.Linear, tokens: int, block: str, density: float, stored: float) -> Point:
    """Compile a layer and check it."""
    layer.eval().requires_grad_(False)
    x = torch.randn(tokens, layer.in_features)
    model = l0.compile(layer, (x,), engine="tvm")
    torch.testing.assert_close(model(x), layer(x), rtol=1e-4, atol=1e-4)
    return f"{tokens} {block} {density}", stored, lambda: model(x)


def report(write: bool) -> None:
    """Print the figures; with ``write``, append them and the times."""
    efficiencies: dict[str, float] = {}
    few: dict[str, float] = {}
    rows: dict[str, Any] = {}
    for path in sorted(FOLDER.glob("l0compile_*.json")):
        shape = path.stem.removeprefix("l0compile_")
        files = {engine: FOLDER / f"{engine}_{shape}.json" for engine in linear_grid.ENGINES}
        others = {engine: json.loads(file.read_text()) for engine, file in files.items()}
        for name, (us, stored) in json.loads(path.read_text()).items():
            same = f"{name.split()[0]} dense 1.0"
            best = min(others, key=lambda engine: others[engine][same][0])
            best_us = others[best][same][0]
            rows[f"{shape} {name}"] = [round(us, 1), round(best_us, 1), best, round(stored, 4)]
            if int(name.split()[0]) in FEW:
                few[f"{shape} {name}"] = best_us / us
            elif "dense" not in name and best_us * stored >= linear_grid.LEAST_US:
                efficiencies[f"{shape} {name}"] = best_us * stored / us
    figures = {"blocks, 128 tokens, share of ideal scaling": _summary(efficiencies)}
    for tokens in FEW:
        mine = {name: value for name, value in few.items() if int(name.split()[1]) == tokens}
        figures[f"dense, {tokens} tokens, times as fast"] = _summary(mine)
    figures["dense, 1 to 16 tokens, times as fast"] = _summary(few)
    for name, figure in figures.items():
        print(f"{name:45} mean {figure['mean']:.3f}  worst {figure['worst']:.3f} ({figure['where']})")
    if write:
        record.append("lone_layers", {"points": rows, "figures": figures})


def _summary(values: dict[str, float]) -> dict[str, Any]:
    where = min(values, key=lambda name: values[name])
    mean = geometric_mean(values.values())
    return {
        "mean": round(mean, 3),
        "worst": round(values[where], 3),
        "where": where,
        "points": len(values),
    }


if __name__ == "__main__":
    main()
