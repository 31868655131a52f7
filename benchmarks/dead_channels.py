"""Claim: channels that pruning set to zero are removed, in any convolutional net.

    python benchmarks/dead_channels.py [onet crepe ...] [--share 0.6] [--label LABEL] [--dynamic]

In every net of ``tests/zoo/channels``, weights and biases of 60 % of the channels of each convolution are set to zero.
A multiplication is dead if it reads or makes a channel that is constant or that nothing reads;
``tests.zoo.channels.count`` finds these by running the net. The table gives the share of the dead multiplications that
the compacted program no longer does, counted from its operators, and the difference of its results from PyTorch's.
Appends to ``benchmarks/results/dead_channels.jsonl``.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from harness import record
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from l0compile.frontend.export import capture  # noqa: E402
from l0compile.rewrite.pipeline import optimise_dense  # noqa: E402
from tests.zoo import compare  # noqa: E402
from tests.zoo.channels import NETS, Count, count, multiplications, pruned  # noqa: E402


def main() -> None:
    """Count each net, print the table, append one row for all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(NETS)}; default: all")
    parser.add_argument(
        "--share", type=float, default=0.6, help="share of channels that are zero (default 0.6)"
    )
    parser.add_argument("--label", default="", help="what to call this state of the code in the results")
    parser.add_argument("--dynamic", action="store_true", help="with a symbolic batch")
    parser.add_argument("--no-record", action="store_true", help="print only")
    parser.add_argument("--reasons", action="store_true", help="print why dead channels stay")
    options = parser.parse_args()
    if unknown := set(options.nets) - set(NETS):
        parser.error(f"no such net: {', '.join(sorted(unknown))}; there are {', '.join(NETS)}")
    rows = {}
    for name in options.nets or NETS:
        rows[name] = row(name, options.share, options.dynamic, options.reasons)
        print(line(name, rows[name]), flush=True)
    if not options.no_record:
        record.append("dead_channels", {"label": options.label, "share": options.share, "nets": rows})


def row(name: str, share: float, dynamic: bool, reasons: bool) -> dict[str, Any]:
    """Make a row for one net: what is dead, how much of it is gone, and the largest difference of the results."""
    model, inputs = pruned(NETS[name], share)
    counted: Count = count(model, inputs)
    try:
        shapes = tuple({0: "batch"} for _ in inputs) if dynamic else None
        captured = capture(model, inputs, dynamic_shapes=shapes)
        program = optimise_dense(captured)
    except Exception as error:  # any failure is a result here: it is what the table is for
        return {"error": f"{type(error).__name__}: {error}"}
    if reasons:
        for region in program.regions:
            print(f"    {region.name}: {region.reason}")
    before, left = multiplications(captured), multiplications(program)
    return {
        "multiplications": before,
        "dead": round(counted.dead / before, 4),
        "gone": round((before - left) / counted.dead, 4),
        "difference": difference(model, program, inputs),
    }


def difference(model: nn.Module, program: Any, inputs: tuple[torch.Tensor, ...]) -> float:
    """Return the largest difference over the largest value, on inputs other than those of the capture."""
    torch.manual_seed(1)
    other = tuple(torch.randn_like(x) for x in inputs)
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(model(*other))
        return max(map(compare, program.module()(*other), expected))


def line(name: str, found: dict[str, Any]) -> str:
    """Format a row as a line of the table."""
    if "error" in found:
        return f"{name:22}{found['error'][:120]}"
    figures = f"{found['multiplications'] / 1e6:9.1f} M {found['dead']:7.1%} dead, gone {found['gone']:7.1%}"
    return f"{name:22}{figures}, difference {found['difference']:.1e}"


if __name__ == "__main__":
    main()
