"""Claim: half of Adult's columns classify as well as all of them, and seeds agree on which.

    L0COMPILE_DATA=data python benchmarks/columns.py [--keep 7] [--seeds 5] [--model mlp]

Appends to ``benchmarks/results/columns.jsonl``, and writes ``columns.png`` beside it.
"""

import argparse
from pathlib import Path
from statistics import fmean

from harness import record

from l0compile.cli.output import print_rich
from l0compile.report.plots.columns import columns_size, draw_columns
from l0compile.report.plots.export import png
from l0compile.report.terminal import columns_table
from l0compile.tasks import AdultOptions, AdultTask, select_columns


def main() -> None:
    """Select columns, show them and append the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=int, default=7, help="columns that may stay, of 14 (default 7)")
    parser.add_argument("--seeds", type=int, default=5, help="models (default 5)")
    parser.add_argument("--model", choices=("mlp", "ft-transformer"), default="mlp", help="(default mlp)")
    args = parser.parse_args()
    found = select_columns(AdultTask(AdultOptions(model=args.model)), args.keep, seeds=args.seeds, told=print)
    print_rich(columns_table(found))
    picture = Path(__file__).with_name("results") / "columns.png"
    picture.write_bytes(png(draw_columns(found, columns_size(found))))
    record.append(
        "columns",
        {
            "name": f"adult, {args.model}, {args.keep} of {len(found.columns)} columns",
            "kept": dict(zip(found.columns, found.share, strict=True)),
            "stability": found.stability,
            "overlap": found.overlap,
            "accuracy": fmean(found.qualities),
            "accuracy_of_all": fmean(found.dense),
        },
    )


if __name__ == "__main__":
    main()
