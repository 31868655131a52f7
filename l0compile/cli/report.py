"""``l0compile report``: the page and the pictures again, from the facts that a search stored."""

import argparse
from pathlib import Path

from l0compile.cli.output import print_json, print_rich
from l0compile.report import comparison_table, write_report
from l0compile.result import RESULT, SearchResult


def run(args: argparse.Namespace) -> int:
    """Draw the report in ``args.folder`` again and print its table."""
    report = SearchResult.load(Path(args.folder) / RESULT)
    paths = write_report(report, args.folder)
    if args.json:
        print_json({"files": [str(path) for path in paths]} | report.to_dict())
        return 0
    print_rich(comparison_table(report))
    for path in paths:
        print(path)
    return 0
