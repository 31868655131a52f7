"""Claim: features can go at little cost, on tables, text, graphs and images. Rows of a run of ``l0compile paper``.

    l0compile paper --out paper && python benchmarks/paper.py [paper]

Prints the table of docs/measured.md, and appends one row for each series and active fraction to
``benchmarks/results/paper.jsonl``: mean and standard deviation over seeds of accuracy, AUROC and ECE, raw and with a
temperature, and milliseconds of the compiled model of seed 0 beside those of the dense model on other engines.
"""

import argparse
from pathlib import Path
from typing import Any

from harness import record

from l0compile.studies.paper.result import PAPER, Paper, PaperRow, PaperTable, Spread

SCORES = ("accuracy", "AUROC", "ECE")
SHOWN = (None, 0.25, 0.05)  # active fractions of the table; None: dense


def main() -> None:
    """Print the table and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("paper"), help="--out of the run")
    paper = Paper.load(parser.parse_args().folder / PAPER)
    if paper.shorten != 1.0:
        parser.error(
            "these models were trained for a check (--quick), not for figures: run `l0compile paper` whole"
        )
    for table in paper.tables:
        for row in table.rows:
            record.append(
                "paper", as_row(table, row) | {"seeds": paper.seeds, "run": paper.facts["this run"]}
            )
    print("| task | dense | 25 % active | 5 % active | ECE dense, raw / scaled | ECE 25 %, raw / scaled |")
    print("|---|---|---|---|---|---|")
    for table in paper.tables:
        print(line(table))


def as_row(table: PaperTable, row: PaperRow) -> dict[str, Any]:
    """Return the row of a series at one active fraction."""
    kinds = {"raw": row.raw, "scaled": row.scaled}
    timing = row.timing
    return {
        "series": table.name,
        "fraction": row.fraction,
        "active": round(row.active, 4),
        **{kind: {name: rounded(found[name]) for name in SCORES} for kind, found in kinds.items()},
        "flips": row.flips,
        "largest": row.largest,
        "ms": timing.ms if timing else None,
        "dense_ms": {engine.name: engine.ms for engine in table.engines},
    }


def rounded(spread: Spread) -> list[float]:
    """Return mean and standard deviation."""
    return [round(spread.mean, 4), round(spread.deviation, 4)]


def line(table: PaperTable) -> str:
    """Return a line of the table in Markdown, with a dash for a fraction that was not asked for."""
    rows = {row.fraction: row for row in table.rows}
    found = [rows.get(fraction) for fraction in SHOWN]
    scores = [score(row) if row else "–" for row in found]
    errors = [
        f"{row.raw['ECE'].mean:.3f} / {row.scaled['ECE'].mean:.3f}" if row else "–" for row in found[:2]
    ]
    return f"| {' | '.join([table.title, *scores, *errors])} |"


def score(row: PaperRow) -> str:
    """Return accuracy, mean ± standard deviation, and AUROC."""
    accuracy = row.raw["accuracy"]
    return f"{accuracy.mean:.4f} ± {accuracy.deviation:.4f} ({row.raw['AUROC'].mean:.4f})"


if __name__ == "__main__":
    main()
