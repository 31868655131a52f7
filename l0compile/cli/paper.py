"""``l0compile paper``: sweep active fractions over tasks and seeds, and leave tables and plots in a folder."""

import argparse
import sys
import time
from pathlib import Path

from l0compile.cli.output import print_json, print_rich
from l0compile.ir.codec import encode
from l0compile.report.terminal import paper_table
from l0compile.report.write import write_paper
from l0compile.studies.paper.plan import make_plan
from l0compile.studies.paper.run import run_paper


def run(args: argparse.Namespace) -> int:
    """Run what is missing of the sweep, write the page and print the tables."""
    plan = make_plan(args.task, seeds=args.seeds, fractions=args.fractions, quick=args.quick)
    out, begun = Path(args.out), time.monotonic()

    def told(line: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {line}", file=sys.stderr, flush=True)

    paper = run_paper(plan, out, told, processes=args.processes)
    files = write_paper(paper, out)
    if args.json:
        print_json({"files": [str(file) for file in files]} | encode(paper))
    else:
        print_rich(*(paper_table(table) for table in paper.tables), f"page, plots and models: {out}")
    return 0
