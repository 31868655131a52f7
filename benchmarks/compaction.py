"""Claim: the same channels removed, and faster than Torch-Pruning with torch.compile.

    python benchmarks/compaction.py --pruner PYTHON [--ratio 0.5] [--blocks 20]

Torch-Pruning 1.6 cuts channels of ResNet-50 (224x224, batch 1), and heads and neurons of BERT-base (128 tokens). Its
result runs under ``torch.compile`` (and eager); ``l0.compile`` gets the full model with zeros in the same places.
``PYTHON`` is an interpreter that can import torch_pruning, torch, transformers and safetensors. All weights are random.
The engines take turns, each in a process of its own. Appends to ``benchmarks/results/compaction.jsonl``.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from harness import record
from harness.structured import cut, masked
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.measurement import Protocol, Workload, measure_engines, ratio
from l0compile.rewrite.pipeline import compact

MODELS = ("resnet50", "bert")
THEIRS = {"torch.compile": "torch.compile", "pytorch": "pytorch"}


def main() -> None:
    """Prune, compile, count and time each model; append one row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pruner", help="Python interpreter that has Torch-Pruning 1.6")
    parser.add_argument("--ratio", type=float, default=0.5, help="share of channels removed (default 0.5)")
    parser.add_argument("--blocks", type=int, default=20, help="measured blocks an engine (default 20)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    options = parser.parse_args()
    if options.pruner is None:
        print("skipped: give --pruner, an interpreter with Torch-Pruning 1.6, which is no dependency of ours")
        return
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(__file__).parent / "harness" / "torch_pruning_run.py"
            command = [options.pruner, str(script), name, str(options.ratio), folder]
            subprocess.run(command, check=True)
            record.append("compaction", row(name, folder, Protocol(blocks=options.blocks)))


def row(name: str, folder: str, protocol: Protocol) -> dict[str, Any]:
    """Make a row: FLOPs of both, the difference of their results, times, and their ratio."""
    theirs, args = cut(name, folder)
    ours, _ = masked(name, folder)
    compacted = compact(capture(ours, args))  # not counted, because finding the zeros multiplies matrices too
    result: dict[str, Any] = {
        "name": name,
        "gflop_theirs": gflop(lambda: theirs(*args)),
        "gflop_ours": gflop(lambda: compacted.run(*args)),
        "difference": difference(theirs, ours, args),
    }
    artifact = str(Path(folder) / "ours")
    l0.compile(ours, args).save(artifact)
    factory = Workload(factory="harness.structured:cut", factory_kwargs={"name": name, "folder": folder})
    jobs = {label: (engine, factory) for label, engine in THEIRS.items()}
    jobs["l0compile"] = ("l0compile", Workload(**{**vars(factory), "artifact": artifact}))
    measured = measure_engines(jobs, protocol)
    for label, found in measured.items():
        result[label] = found.error or [round(v, 3) for v in (found.median_ms, found.low_ms, found.high_ms)]
    for label in THEIRS:
        if measured[label].ok and measured["l0compile"].ok:
            speedup = ratio(measured[label], measured["l0compile"], paired=True)
            result[f"speedup_over_{label}"] = [
                round(v, 3) for v in (speedup.value, speedup.low, speedup.high)
            ]
    return result


def gflop(call: Any) -> float:
    """Count the floating-point operations of matrix products, convolutions and attention in one call, in 10^9."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return round(counter.get_total_flops() / 1e9, 4)


def difference(theirs: nn.Module, ours: nn.Module, args: tuple[torch.Tensor, ...]) -> float:
    """Return the largest difference of the two models over the largest value; they must be the same function."""
    with torch.no_grad():
        expected, actual = tree_leaves(theirs(*args))[0], tree_leaves(ours(*args))[0]
    return float((expected - actual).abs().max() / expected.abs().max())


if __name__ == "__main__":
    main()
