"""Claim: which blocks are best depends on the device. MiniLM planned for AVX-512 and for AVX2 of the same processor.

    python benchmarks/two_targets.py [--shares 0.5 0.25] [--folder KEEP] [--text FOLDER]

Kernels of six block shapes are timed for both targets (``l0compile tune --quick``), all layers are pruned in these
shapes, and plans are made for shares of the time of the dense layers on each target. A row gives, for each group of
layers, the share of the weights in each shape, and the share that is left. Appends to
``benchmarks/results/two_targets.jsonl``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from harness import minilm, record, searching
from torch import Tensor, nn

from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.space.candidate import Choices

TARGETS = ("x86-64-avx512", "x86-64-avx2")
SHAPES = ((2, 1), (4, 1), (8, 1), (4, 4), (8, 8), (16, 16))


def main() -> None:
    """Append a row for each target and share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shares", nargs="+", type=float, default=(0.5, 0.25))
    parser.add_argument("--folder", type=Path, help="where to keep candidates; default: a temporary one")
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        space, task = searching.space_and_task(options.text)
        for target in TARGETS:
            os.environ["L0COMPILE_COSTS"] = str(Path(temporary) / f"{target}.db")
            tune(target)
            evaluator, _ = searching.every_shape(space, task, SHAPES, folder, target)
            for share in options.shares:
                record.append("two_targets", {"target": target, "share": share, **row(evaluator, share)})


def tune(target: str) -> None:
    """Time the kernels of all block shapes for a target, into the database of the environment."""
    blocks = [f"{rows}x{cols}" for rows, cols in SHAPES]
    command = [sys.executable, "-m", "l0compile", "tune", f"{__file__}:dense", "--target", target, "--quick"]
    subprocess.run([*command, "--blocks", *blocks, "--densities", "0.5", "0.2", "0.1"], check=True)


def dense() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make the model to tune, and its inputs."""
    return minilm.encoder(), minilm.inputs(1, 128)


def row(evaluator: Evaluator, share: float) -> dict[str, object]:
    """Make a row: the allocation for a share of the dense time."""
    plan = evaluator.allocate(Choices(), share * evaluator.menu.dense_ms)
    sizes = {name: evaluator.origin.get_submodule(name).weight.numel() for name in plan.layers}
    left = {name: sizes[name] * level.density for name, level in plan.layers.items()}
    by_group = {}
    for group, names in evaluator.members.items():
        counts = Counter[str]()
        for name in names:
            level = plan.layers[name]
            counts[_shape(level.block, level.density)] += sizes[name]
        total = sum(sizes[name] for name in names)
        by_group[group] = {shape: round(count / total, 3) for shape, count in counts.most_common()}
    return {
        "dense_ms": round(evaluator.menu.dense_ms, 3),
        "plan_ms": round(plan.ms, 3),
        "live": round(sum(left.values()) / sum(sizes.values()), 4),
        "loss": plan.loss,
        "shapes": by_group,
    }


def _shape(block: tuple[int, int] | None, density: float) -> str:
    if density == 0.0:
        return "none left"
    return f"{block[0]}x{block[1]}" if block else "dense"


if __name__ == "__main__":
    main()
