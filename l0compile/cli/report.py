"""``l0compile report``: draw the page and the pictures again from the facts that a search stored."""

import argparse
from pathlib import Path

from l0compile.cli.output import print_json, print_rich
from l0compile.report.terminal import asked_lines, comparison_table, targets_table
from l0compile.report.write import write_report
from l0compile.studies.result import RESULT, SearchResult


def run(args: argparse.Namespace) -> int:
    """Draw the reports in ``args.folders`` again and print their tables; several are also compared."""
    reports = {folder: SearchResult.load(Path(folder) / RESULT) for folder in args.folders}
    several = len(reports) > 1
    paths = [
        path
        for folder, report in reports.items()
        for path in write_report(report, folder, reports if several else None)
    ]
    if args.json:
        files = {"files": [str(path) for path in paths]}
        facts = {folder: report.to_dict() for folder, report in reports.items()}
        print_json(files | ({"results": facts} if several else facts[args.folders[0]]))
        return 0
    found = [part for report in reports.values() for part in (comparison_table(report), *asked_lines(report))]
    print_rich(*found, *([targets_table(reports)] if several else []))
    for path in paths:
        print(path)
    return 0
