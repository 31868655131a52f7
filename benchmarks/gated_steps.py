"""Claim: a training step with gates on the classified vector takes at most 1.05 times a dense step, for every task.

    L0COMPILE_DATA=data python benchmarks/gated_steps.py [--pairs 40] [--tasks adult cora] [--threads 1]

A step is forward, backward and AdamW on a batch of the task's own recipe. Both models share a process and take turns.
Appends one row for each task to ``benchmarks/results/gated_steps.jsonl``.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from harness import record
from torch import nn
from training import alternate, bootstrap

from l0compile.gates import Budget, attach
from l0compile.studies.paper.plan import SERIES
from l0compile.tasks import Classification, Labelled, representation_gate


def main() -> None:
    """Measure every task whose data is here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=40, help="pairs of blocks (default 40)")
    parser.add_argument("--tasks", nargs="+", default=[series.name for series in SERIES])
    parser.add_argument(
        "--threads", type=int, default=1, help="PyTorch threads (default 1, as in a paper run)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for series in SERIES:
        if series.name in options.tasks:
            task = series.load()
            record.append("gated_steps", measure(series.name, task, options.pairs))


def measure(name: str, task: Classification, pairs: int) -> dict[str, object]:
    """Time dense and gated steps of one task in turns."""
    batch = next(iter(task.batches(task.recipe(0).batch, 0)))
    dense, gated = step(task, task.build(0), batch, gates=False), step(task, task.build(0), batch, gates=True)
    blocks = alternate(dense, gated, 1, 1)
    found = alternate(dense, gated, pairs, max(1, round(0.05 / blocks[0][0][0])))
    ratios = [of_gated[0] / of_dense[0] for of_dense, of_gated in found]
    low, high = bootstrap(ratios)
    return {
        "name": name,
        "ratio": [statistics.median(ratios), low, high],
        "processor_time_ratio": statistics.median(b[1] / a[1] for a, b in found),
        "dense_ms": 1e3 * statistics.median(a[0] for a, _ in found),
        "limit": 1.05,
    }


def step(task: Classification, model: nn.Module, batch: Labelled, *, gates: bool) -> Callable[[], None]:
    """Return a function that takes one training step."""
    model.train()
    weights = list(model.parameters())
    budget = Budget(attach(model, representation_gate(task)), 0.25, 1000, warmup=0.0) if gates else None
    groups = [{"params": weights}, *([budget.param_group()] if budget is not None else [])]
    optimiser = torch.optim.AdamW(groups, lr=1e-4, fused=True)

    def run() -> None:
        optimiser.zero_grad()
        task.loss(model, batch).backward()
        if budget is not None:
            budget.backward()
        optimiser.step()
        if budget is not None:
            budget.step()

    return run


if __name__ == "__main__":
    main()
