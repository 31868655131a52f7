"""Claim: in 12 minutes, a search finds a model 1.4 times as fast as OpenVINO's dense int8 with Spearman >= 0.985.

    python benchmarks/demo.py [--out FOLDER]

Runs what ``make demo`` runs, in a temporary folder; with ``--out``, records the finished search in that folder instead.
Appends to ``benchmarks/results/demo.jsonl``.
"""

import argparse
import tempfile
from pathlib import Path

from harness import record, searching

import l0compile as l0
from l0compile.studies.result import RESULT, SearchResult


def main() -> None:
    """Search, or read a finished search, and append its final table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder of a finished search to record")
    folder = parser.parse_args().out
    if folder is not None:
        append(SearchResult.load(folder / RESULT))
        return
    with tempfile.TemporaryDirectory() as scratch:
        append(l0.search(searching.SPACE, scratch))


def append(result: SearchResult) -> None:
    """Append one line: every row of the table with its speed-up, the number of trials by outcome, and seconds."""
    trials = [candidate.outcome for candidate in result.candidates]
    row = {
        "name": result.title,
        "reference": result.reference,
        "rows": list(searching.final_table(result).values()),
        "trials": {outcome: trials.count(outcome) for outcome in sorted(set(trials))},
        "facts": result.facts,
        "limits": {"speedup": 1.4, "quality": 0.985, "seconds": 720},
    }
    record.append("demo", row)


if __name__ == "__main__":
    main()
