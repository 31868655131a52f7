"""Claim: where attention takes much time, plans that may close whole heads are better. MiniLM, long texts, no training.

    python benchmarks/heads.py [--tokens 512] [--speedups 1.5 2 3] [--folder KEEP] [--text FOLDER]

For each speed-up over OpenVINO's dense model two plans are fitted (compiled and measured, see budgets.py): one of 4x1
blocks, and one of blocks and heads, where the price of a head is the time of attention and of the layers around it.
Each plan has the importances that do best on validation text among the first three trials of a search: all groups
equal, by what the model loses without each group, and half of that. ``quality`` is the Spearman correlation of pairwise
similarities with the dense model on held-out text, with weights by least squares; ``neutral`` is the quality with all
groups equal at the same price; ``heads`` is the share of heads left. Wanted: better with heads. Appends to
``benchmarks/results/heads.jsonl``.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

from harness import record, searching

from l0compile.measurement.stopwatch import Job
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import Fitter
from l0compile.studies.fit.probe import probe
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import GateGroup
from l0compile.tasks import make_task

FEEDS = {
    f"bert.encoder.layer.*.attention.self.{name}": "bert.encoder.layer.*.attention.output.dense"
    for name in ("query", "key", "value")
}
HEADS = GateGroup("heads", "head", ("bert.encoder.layer.?.attention.output.dense",), (0.0, 1.0), heads=12)


def main() -> None:
    """Append one row for each speed-up and space."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--speedups", nargs="+", type=float, default=(1.5, 2.0, 3.0))
    parser.add_argument("--folder", type=Path, help="where to keep candidates; default: a temporary one")
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    space, _ = searching.space_and_task(options.text)
    blocks = tuple(dataclasses.replace(group, shapes=((4, 1),)) for group in space.gates)
    task = make_task(space.task, dataclasses.replace(space.options, tokens=options.tokens), options.text)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench, jobs, dense = searching.dense_jobs(task, folder)
        for name, gates in {"blocks": blocks, "blocks and heads": (*blocks, HEADS)}.items():
            evaluator, _ = searching.evaluator(
                dataclasses.replace(space, gates=gates, feeds=FEEDS), task, folder
            )
            points = [(evaluator.menu.dense_ms, dense["dense"].median_ms)]
            for speedup in options.speedups:
                budget = DeviceBudget(dense["openvino"].median_ms / speedup, 1 / speedup, jobs["openvino"])
                row = {"tokens": options.tokens, "speedup": speedup, "plan": name}
                fitter = Fitter(evaluator, bench, budget, points)
                record.append("heads", row | fitted(evaluator, fitter, jobs["openvino"]))


def fitted(evaluator: Evaluator, fitter: Fitter, reference: Job) -> dict[str, object]:
    """Fit a plan to the latency, and measure its quality."""
    price = fitter.price(fitter.budget.ms)
    probed = probe(evaluator, Choices(), price)
    tried = [Choices(), *probed.to_try()]
    best = max(tried, key=lambda choices: evaluator.evaluate(choices, price).quality)
    found, speedup = searching.fitted(fitter, reference, best)
    parts = [found.allocation.layers[name].density for name in evaluator.menu.units]
    return {
        "measured_speedup": speedup,
        "predicted_ms": round(found.predicted_ms, 2),
        "weights": dict(best.weight),
        "heads": round(sum(parts) / len(parts), 3) if parts else 1.0,
        "quality": quality(evaluator, found.allocation),
        "neutral": quality(evaluator, evaluator.allocate(Choices(), found.allocation.ms)),
    }


def quality(evaluator: Evaluator, allocation: Allocation) -> float:
    """Measure quality on held-out text, with weights by least squares."""
    model = evaluator.realised(allocation)
    evaluator.solve(model)
    return round(evaluator.task.quality(model, "held_out"), 4)


if __name__ == "__main__":
    main()
