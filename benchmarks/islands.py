"""Claim: an island costs little. A model with an operator in its hot path that TVM cannot take, run in two ways.

    python benchmarks/islands.py [--blocks 20]

*naive*: PyTorch uses all its threads in the island and leaves them spinning. *cured*: a small island runs on one
thread, and a large one puts the other threads to sleep before TVM runs. Each stage is also repeated alone, without a
switch between engines; the cost of a switch is the difference, divided by the number of switches per call. Every
variant runs in a process of its own. Appends to ``benchmarks/results/islands.jsonl``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from harness import record
from torch import nn

import l0compile as l0
from l0compile.runtime import CompiledModel
from l0compile.runtime.plan import Step
from l0compile.runtime.torch_stage import TorchStage

BLOCK_S = 0.1
VARIANTS = ("naive", "cured")
WIDTH = {"small island": 8, "large island": 128}


class Islands(nn.Module):
    """Layers of 384 features on 128 tokens, each followed by the exponential of a [width, width] matrix: an island."""

    def __init__(self, width: int, layers: int = 4) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(nn.Linear(384, 384) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
            part = x[:, : self.width]
            x = x * (1 + torch.linalg.matrix_exp(part.mT @ part * 1e-4).diagonal().mean())
        return x


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a call, and of its stages when each is repeated alone; and switches between engines per call."""

    call_ms: list[float]
    alone_ms: float
    switches: int


def blocks(call: Callable[[], Any], count: int) -> list[float]:
    """Measure the mean ms of a call in each of ``count`` blocks of back-to-back calls."""
    found = []
    for _ in range(count):
        call()
        calls, start = 0, time.perf_counter()
        while time.perf_counter() - start < BLOCK_S:
            call()
            calls += 1
        found.append((time.perf_counter() - start) / calls * 1e3)
    return found


def variant(step: Step, naive: bool) -> Step:
    """Return the step with or without the cure."""
    stage = step.stage
    if not naive or not isinstance(stage, TorchStage):
        return step
    return Step(TorchStage(stage.code, stage.constants), step.inputs, step.outputs, step.frees)


def stages_alone(steps: tuple[Step, ...], values: dict[str, Any]) -> float:
    """Sum the median ms of all stages, each repeated alone, with a pause in between."""
    total = 0.0
    for step in steps:
        inputs = [values[name] for name in step.inputs]
        made = step.stage(inputs)
        values.update(zip(step.outputs, made, strict=True))
        total += statistics.median(blocks(lambda step=step, inputs=inputs: step.stage(inputs), 3))
        time.sleep(0.2)  # until spinning threads have gone to sleep
    return total


def measure(case: str, name: str, count: int) -> Timing:
    """Measure one variant in this process."""
    torch.manual_seed(0)
    x = torch.randn(128, 384)
    compiled: CompiledModel = l0.compile(Islands(WIDTH[case]).eval(), (x,), engine="tvm")
    plan = compiled._plan
    plan.steps = tuple(variant(step, name == "naive") for step in plan.steps)
    kinds = [isinstance(step.stage, TorchStage) for step in plan.steps]
    # Calls follow each other, so the last stage is followed by the first.
    switches = sum(a != b for a, b in zip(kinds, [*kinds[1:], kinds[0]], strict=True))
    alone = stages_alone(plan.steps, dict(zip(plan.inputs, [x], strict=True)))
    return Timing(blocks(lambda: compiled(x), count), alone, switches)


def main() -> None:
    """Measure every case and variant in a process of its own, and append one row per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=20, help="measured blocks per variant (default 20)")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "VARIANT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(vars(measure(*args.child, args.blocks))))
        return
    for case in WIDTH:
        row: dict[str, Any] = {"name": case}
        for name in VARIANTS:
            command = [sys.executable, __file__, "--blocks", str(args.blocks), "--child", case, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = Timing(**json.loads(done.stdout.splitlines()[-1]))
            median = statistics.median(found.call_ms)
            row[name] = {
                "call_ms": round(median, 4),
                "stages_alone_ms": round(found.alone_ms, 4),
                "switches": found.switches,
                "ms_per_switch": round((median - found.alone_ms) / found.switches, 4),
            }
        row["speedup"] = round(row["naive"]["call_ms"] / row["cured"]["call_ms"], 3)
        record.append("islands", row)


if __name__ == "__main__":
    main()
