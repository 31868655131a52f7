"""Claim: in 12 minutes, a search finds a model 1.4 times as fast as OpenVINO's dense int8 with Spearman >= 0.985.

It tries 16 different models on the way, and fits one to a budget in 15 seconds or less.

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
    """Append one line: every row of the table with its speed-up, trials by outcome, seconds per fit, and the rest."""
    trials = [candidate.outcome for candidate in result.candidates]
    different = {str(each.layers) for each in result.candidates if each.outcome == "one-shot"}
    row = {
        "name": result.title,
        "reference": result.reference,
        "rows": list(searching.final_table(result).values()),
        "trials": {outcome: trials.count(outcome) for outcome in sorted(set(trials))},
        "different_trials": len(different),
        "seconds_per_fit": result.facts.get("fits", {}).get("seconds of each"),
        "quality": next((row.quality for row in result.rows if not row.dense), None),
        "facts": result.facts,
        "limits": {
            "speedup": 1.4,
            "quality": 0.985,
            "seconds": 720,
            "different_trials": 16,
            "seconds_per_fit": 15,
        },
    }
    record.append("demo", row)


if __name__ == "__main__":
    main()
