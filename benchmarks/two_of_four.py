"""Claim: 2:4 should pay most where a layer waits for its weight. Predicted; nothing was run on a GPU, nothing is timed.

    python benchmarks/two_of_four.py [--targets cuda-sm80 cuda-sm90] [--table]

Predicted milliseconds of bfloat16 layers with a dense weight and with one of 2:4, and their ratio. Writes
``benchmarks/results/two_of_four.jsonl``.
"""

import argparse
import json
from dataclasses import replace
from typing import Any

from harness import record

from l0compile.hardware.costs import GpuModel, KernelWorkload
from l0compile.hardware.costs.gpu import TWO_OF_FOUR
from l0compile.hardware.targets import load_target

FILE = record.RESULTS / "two_of_four.jsonl"
LAYERS = ((3072, 768), (4096, 4096), (14336, 4096))
TOKENS = (1, 16, 256, 8192)


def main() -> None:
    """Write rows, or print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=["cuda-sm80", "cuda-sm90"])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        made = [row(name, layer, tokens) for name in options.targets for layer in LAYERS for tokens in TOKENS]
        FILE.write_text("".join(json.dumps(one) + "\n" for one in made))
    print("\n".join(table([json.loads(line) for line in FILE.read_text().splitlines()])))


def row(name: str, layer: tuple[int, int], tokens: int) -> dict[str, Any]:
    """Predict a layer in both formats."""
    model = GpuModel(load_target(name))
    work = KernelWorkload("linear", layer, tokens=tokens, dtype="bfloat16")
    dense, sparse = model.predict(work), model.predict(replace(work, variant=TWO_OF_FOUR))
    assert dense is not None and sparse is not None
    return {
        "target": name, "n": layer[0], "k": layer[1], "tokens": tokens, "predicted dense ms": round(dense.mid, 5),
        "predicted 2:4 ms": round(sparse.mid, 5), "predicted ratio": round(sparse.mid / dense.mid, 3),
        "waits for": sparse.bound,
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Make a Markdown table: layers down, tokens across."""
    lines = [
        f"| target | layer | {' | '.join(f'{tokens} tokens' for tokens in TOKENS)} |",
        "|---|---|" + "---:|" * 4,
    ]
    ratios = {(one["target"], one["n"], one["k"], one["tokens"]): one["predicted ratio"] for one in rows}
    for target, n, k in dict.fromkeys((one["target"], one["n"], one["k"]) for one in rows):
        cells = " | ".join(f"{ratios[target, n, k, tokens]:.2f}" for tokens in TOKENS)
        lines.append(f"| {target} | {n}×{k} | {cells} |")
    return lines


if __name__ == "__main__":
    main()
