"""How well the cost model predicts whole models: MiniLM with random budgets and block shapes, measured and predicted.

``build`` compiles configurations into a folder, as many as the time allows; ``time`` measures those in it; ``report``
compares with what the database of costs predicts from their regions. Without a step all are done.

Everything but the linear layers is the same in every configuration, and a layer in a model waits longer for its weights
and inputs than a layer alone. Both effects are fitted on the first tenth of the configurations, which the figures leave
out: measured = slope * predicted + rest, by least squares of the relative error.
"""

import argparse
import copy
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from harness import record
from harness.minilm import encoder, inputs, prune
from torch import nn

import l0compile as l0
from l0compile.hardware.costs import Costs, KernelWorkload
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import costs_of
from l0compile.runtime.account import Explanation
from l0compile.runtime.artifact import read_manifest

TOKENS = 128
BLOCKS = ((4, 1), (8, 1), (4, 4), (8, 8), (16, 16))
STEPS = ("build", "time", "report")
PASSES = 3


@dataclass(frozen=True)
class Configuration:
    """A pruned model.

    Attributes:
        block: Block shape.
        attention: Share of the blocks that are kept in attention layers.
        feed_forward: Share of the blocks that are kept in feed-forward layers.
    """

    block: tuple[int, int]
    attention: float
    feed_forward: float

    @classmethod
    def draw(cls, seed: int) -> "Configuration":
        """Draw shares from 0.04 to 1, small ones more often."""
        generator = random.Random(seed)
        return cls(generator.choice(BLOCKS), *(round(generator.uniform(0.2, 1.0) ** 2, 3) for _ in range(2)))

    def applied(self, model: nn.Module) -> nn.Module:
        """Make a pruned copy of the encoder."""
        result = copy.deepcopy(model)
        for name, module in result.named_modules():
            if isinstance(module, nn.Linear) and "encoder" in name:
                attention = ".attention." in name
                prune(module.weight.data, self.block, self.attention if attention else self.feed_forward)
        return result


def build(folder: Path, count: int, seconds: float) -> None:
    """Compile configurations that are missing, until there are ``count``, or for ``seconds``."""
    end, model = time.monotonic() + seconds, encoder()
    for seed in range(count):
        if time.monotonic() < end and not (folder / str(seed)).exists():
            pruned = Configuration.draw(seed).applied(model)
            l0.compile(pruned, inputs(1, TOKENS), verify=False, engine="tvm").save(folder / str(seed))


def measure(folder: Path) -> None:
    """Time each configuration in several passes, and keep its fastest block of calls.

    A disturbance of the machine lasts longer than one configuration takes, but hits another one in the next pass.
    """
    found = _times(folder)
    paths = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: int(path.name))
    for _ in range(PASSES):
        for path in paths:
            found[path.name] = min(_milliseconds(path), found.get(path.name, float("inf")))
            (folder / "times.json").write_text(json.dumps(found))


def _milliseconds(path: Path, blocks: int = 6, calls: int = 8) -> float:
    model, call = l0.load(path), inputs(1, TOKENS)
    model(*call)
    medians = []
    for _ in range(blocks):
        times = []
        for _ in range(calls):
            start = time.perf_counter_ns()
            model(*call)
            times.append((time.perf_counter_ns() - start) * 1e-6)
        medians.append(statistics.median(times))
    return min(medians)


def report(folder: Path) -> None:
    """Compare, print and record."""
    target = load_target("native")
    costs = costs_of(target)
    if costs is None:
        raise SystemExit("no costs of this machine; run `l0compile tune` first")
    pairs = [
        (_predicted(folder / name, costs), ms)
        for name, ms in sorted(_times(folder).items(), key=lambda i: int(i[0]))
    ]
    told = max(2, len(pairs) // 10)
    known = np.array([[linear / ms, 1 / ms] for linear, ms in pairs[:told]])
    slope, rest = np.linalg.lstsq(known, np.ones(told), rcond=None)[0].tolist()
    errors = sorted(abs((slope * linear + rest) / ms - 1) for linear, ms in pairs[told:])
    times = [ms for _, ms in pairs]
    row = {
        "configurations": len(errors), "median_error": round(statistics.median(errors), 4),
        "p95_error": round(errors[int(0.95 * (len(errors) - 1))], 4), "largest_error": round(errors[-1], 4),
        "slope": round(slope, 3), "rest_ms": round(rest, 3), "fastest_ms": min(times), "slowest_ms": max(times),
    }  # fmt: skip
    record.append("cost_model", row)


def _predicted(path: Path, costs: Costs) -> float:
    total = 0.0
    for region in Explanation.from_json(read_manifest(path)["explanation"]).regions:
        if region.kind != "linear" or region.format == "dropped":
            continue
        left = prod(region.shape_after) / prod(region.shape_before)
        kept = 1.0 if region.block is None else min(1.0, region.density / left)
        found = costs.estimate(KernelWorkload("linear", region.shape_after, region.block, kept, TOKENS))
        if found is None:
            raise SystemExit(f"{path}: {region.name} is like no layer that was measured")
        total += found.ms
    return total


def _times(folder: Path) -> dict[str, float]:
    file = folder / "times.json"
    found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    return found


def main() -> None:
    """Run one step, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="default: a temporary one")
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--count", type=int, default=110)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long to build")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for step in [args.step] if args.step else STEPS:
            if step == "build":
                build(folder, args.count, args.seconds)
            elif step == "time":
                measure(folder)
            else:
                report(folder)


if __name__ == "__main__":
    main()
