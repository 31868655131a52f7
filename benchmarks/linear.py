"""Claim: linear layers run at the machine's limit, dense and block-sparse. Kernels alone, on a grid of shapes.

    python benchmarks/linear.py [--numbers int8|bfloat16]  all steps below; about ten minutes on two cores
    python benchmarks/linear.py build                      kernels of all shapes
    python benchmarks/linear.py time ENGINE [N,K ...]      one engine, in this process
    python benchmarks/linear.py report [--record]          table of the figures; with --record, rows and plot

Efficiency e is the time of the best dense engine times the share of the weights stored, over our time; ideal scaling is
e = 1. Only points with an ideal time of at least 50 microseconds count. A time is the median of back-to-back calls, the
call from Python included, and the least of several blocks (and runs). Other engines take activations in rows, and our
kernels packed ones, as in a model. Our int8 weights are normal numbers rounded by rows: where products are added in 16
bits, the time depends on how many are large, and ``--uniform`` has the most. Appends to
``benchmarks/results/linear.jsonl``, one row per shape.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import linear_grid as grid
from harness import linear_report

from l0compile.hardware.targets import available_cores

FOLDER = Path("out") / "linear"


def main() -> None:
    """Run the steps asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--numbers", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("step", nargs="?", choices=("all", "build", "time", "report"), default="all")
    parser.add_argument("engine", nargs="?", choices=(*grid.ENGINES, "l0compile"))
    parser.add_argument("shapes", nargs="*", help="for example 768,3072; default: all")
    parser.add_argument(
        "--uniform", action="store_true", help="our int8 weights: uniform, not normal numbers"
    )
    parser.add_argument("--record", action="store_true", help="append the results and draw the plot")
    args = parser.parse_args()
    folder = FOLDER if args.numbers == "float32" else FOLDER / args.numbers
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [(int(n), int(k)) for n, k in (shape.split(",") for shape in args.shapes)]
    if args.step == "build":
        build(folder, args.numbers)
    elif args.step == "time":
        for _ in range(grid.PASSES):
            for shape in shapes or grid.SHAPES:
                time_engine(args.engine, shape, folder, args.numbers, args.uniform)
    elif args.step == "report":
        linear_report.report(folder, args.record, args.numbers, args.uniform)
    else:
        engines = (*grid.engines_of(args.numbers), "l0compile")
        for step in (["build"], *(["time", engine] for engine in engines)):
            options = ["--numbers", args.numbers, *(["--uniform"] if args.uniform else [])]
            subprocess.run([sys.executable, __file__, *options, *step], check=True)
        linear_report.report(folder, record=True, numbers=args.numbers, uniform=args.uniform)


def build(folder: Path, numbers: str) -> None:
    """Build the kernels of all shapes."""
    from harness import linear_ours

    for shape in grid.SHAPES:
        linear_ours.build(shape, folder, numbers)


def time_engine(engine: str, shape: tuple[int, int], folder: Path, numbers: str, uniform: bool) -> None:
    """Time a shape, and keep the lesser of each time and that of earlier passes and runs."""
    found = {}
    if engine == "l0compile":
        from harness import linear_ours

        for (tokens, block, density), stored, call in linear_ours.calls(shape, folder, numbers, uniform):
            found[f"{tokens} {grid.block_name(block)} {density}"] = [grid.best_us(call), stored]
    else:
        for tokens in grid.tokens_of(shape):
            call = _dense(engine, shape, tokens, numbers)
            found[f"{tokens} dense 1.0"] = [grid.best_us(call), 1.0]
    path = linear_report.path(folder, engine, shape)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: min(value, before.get(key, value)) for key, value in found.items()}))


def _dense(engine: str, shape: tuple[int, int], tokens: int, numbers: str) -> Callable[[], Any]:
    from harness import linear_dense, linear_narrow

    if numbers == "float32":
        return linear_dense.prepare(engine, shape, tokens, available_cores())
    return linear_narrow.prepare(numbers, engine, shape, tokens, available_cores())


if __name__ == "__main__":
    main()
