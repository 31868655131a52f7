"""Claim: the best blocks for a GPU are a hundred times larger than those for a CPU. MiniLM, planned on predictions.

    python benchmarks/gpu_blocks.py [--target cuda-sm90] [--batches 1 64] [--shares 0.5 0.25] [--folder KEEP]

All layers are pruned in the four block shapes that the kernels of GPUs have, and plans are made for shares of the
predicted time of the dense layers, in bfloat16. Nothing was measured on a GPU: each time is the middle of a band. The
same for two CPUs, measured, is ``benchmarks/two_targets.py``. Appends to ``benchmarks/results/gpu_blocks.jsonl``.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from harness import record, searching
from two_targets import row

from l0compile.hardware.targets import load_target
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.pruning.level import Numbers, Shape
from l0compile.studies.pruning.prices import LinearCall, Prices
from l0compile.studies.space.candidate import layers_of, unique

SHAPES = ((16, 16), (32, 32), (64, 64), (128, 128))


@dataclass(frozen=True)
class BatchPrices:
    """Prices of layers in bfloat16 that get a batch of the example at once.

    Attributes:
        prices: of the target.
        batch: how many examples.
    """

    prices: Prices
    batch: int

    def ms(self, call: LinearCall, block: Shape | None, density: float, _: Numbers = "float32") -> float:
        """Predict as ``Prices.ms`` does."""
        whole = replace(call, tokens=self.batch * call.tokens)
        return self.prices.ms(whole, block, density, "bfloat16")


def main() -> None:
    """Append a row for each batch and share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="cuda-sm90")
    parser.add_argument("--batches", nargs="+", type=int, default=(1, 64))
    parser.add_argument("--shares", nargs="+", type=float, default=(0.5, 0.25))
    parser.add_argument("--folder", type=Path, help="where to keep candidates; default: a temporary one")
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    target = load_target(options.target)
    assert target.gpu is not None
    space, task = searching.space_and_task(options.text)
    layers = unique(layers_of(task.dense(), space).values())
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / "candidates"
        for batch in options.batches:
            prices = BatchPrices(Prices.of(target), batch)
            evaluator = Evaluator.of(
                task, space, dict.fromkeys(layers, SHAPES), {}, prices, folder, told=searching.told
            )
            for share in options.shares:
                found = row(evaluator, share)
                found = {
                    f"predicted_{key}" if key.endswith("_ms") else key: value for key, value in found.items()
                }
                made = {"target": target.name, "card": target.gpu.card, "times": "predicted", "batch": batch}
                record.append("gpu_blocks", {**made, "share": share, **found})


if __name__ == "__main__":
    main()
