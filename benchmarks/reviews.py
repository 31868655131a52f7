"""Claim: text and table together beat each alone, and half of the compute loses less than half a point.

    python benchmarks/reviews.py [--seeds 3] [--part modalities half] [--steps 250]

The women's clothing reviews, accuracy of "recommended" on the 20 % of reviews that are held out. ``modalities`` trains
a dense model on every combination below. ``half`` closes half of the features of the modalities (and of the classified
vector), then heads and neurons until half of the multiply-adds are left, and trains on; compute is counted in the
smallest equal model (``l0.compact``), products of attention included. Appends to ``benchmarks/results/reviews.jsonl``.
"""

import argparse
import statistics
from typing import Any

from harness import modalities, record

from l0compile.tasks.multimodal import ReviewsOptions, ReviewsTask

COMBINATIONS = (
    ("text",), ("table",), ("rating",), ("text", "table"), ("table", "rating"), ("text", "table", "rating"),
)  # fmt: skip
HALVED = (("text", "table", "rating"), ("text", "table"))


def main() -> None:
    """Measure what is asked for, print and append."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", nargs="+", choices=("modalities", "half"), default=("modalities", "half"))
    parser.add_argument("--steps", type=int, default=250)
    options = parser.parse_args()
    if "modalities" in options.part:
        for chosen in COMBINATIONS:
            record.append("reviews", dense_row(chosen, options.seeds))
    if "half" in options.part:
        for chosen in HALVED:
            for seed in range(options.seeds):
                record.append("reviews", half_row(chosen, seed, options.steps))


def dense_row(chosen: tuple[Any, ...], seeds: int) -> dict[str, Any]:
    """Train on some modalities with several seeds."""
    task = ReviewsTask(ReviewsOptions(modalities=chosen))
    found = [modalities.timed(task, seed) for seed in range(seeds)]
    accuracies = [accuracy for accuracy, _ in found]
    return {
        "axis": "modalities", "modalities": chosen, "accuracy": accuracies,
        "mean": statistics.mean(accuracies), "spread": statistics.stdev(accuracies) if seeds > 1 else None,
        "seconds": [round(seconds, 1) for _, seconds in found], "examples": len(task.labels("held_out")),
    }  # fmt: skip


def half_row(chosen: tuple[Any, ...], seed: int, steps: int) -> dict[str, Any]:
    """Halve the model of one seed and compare it with the dense one."""
    task, how = ReviewsTask(ReviewsOptions(modalities=chosen)), modalities.Halving(steps=steps)
    small, seen = modalities.halved(task, seed, how)
    found = modalities.compared(task, task.train_dense(seed), small)
    return {"axis": "half", "modalities": chosen, "seed": seed, "wanted": vars(how)} | seen | found


if __name__ == "__main__":
    main()
