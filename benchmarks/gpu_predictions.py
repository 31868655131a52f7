"""Claim: the analytic model of GPUs predicts published times within its band. Nothing is measured here.

    python benchmarks/gpu_predictions.py [--check]

A row for each published figure: the time, what the model predicts for the same work, whether the figure lies in the
band, and whether the constants of the model were fitted to it or it was held out. Appends to
``benchmarks/results/gpu_predictions.jsonl``; ``--check`` writes nothing and fails if a figure lies outside.
"""

import argparse
import sys
from typing import Any

from harness import published, record


def main() -> None:
    """Append a row for each figure, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    outside = []
    for figure in published.published():
        found = row(figure)
        if not found["inside"] and not figure.doubt:
            outside.append(figure.name)
        if options.check:
            print(
                f"{'inside' if found['inside'] else 'OUTSIDE'} {found['published / predicted']:5.2f}  {figure.name}"
            )
        else:
            record.append("gpu_predictions", found)
    if outside:
        sys.exit(f"outside the band: {', '.join(outside)}")


def row(figure: published.Published) -> dict[str, Any]:
    """Make a row."""
    predicted = figure.predict()
    return {
        "figure": figure.name,
        "source": figure.source,
        "published_ms": round(figure.ms, 4),
        "predicted_ms": [round(ms, 4) for ms in (predicted.low, predicted.mid, predicted.high)],
        "waits_for": predicted.bound,
        "published / predicted": round(figure.ms / predicted.mid, 3),
        "inside": predicted.low <= figure.ms <= predicted.high,
        "used": "fitted" if figure.fitted else "held out",
        "doubt": figure.doubt,
    }


if __name__ == "__main__":
    main()
