"""Claim: sparse attention pays from some length on, selection included; this says from which, method by method.

    python benchmarks/attention_methods.py [--tokens 1024 2048 4096 8192] [--only NAME ...] [--seconds 2]
    python benchmarks/attention_methods.py draw

Twelve heads of 64, one sequence, two threads. Each method takes turns with our own dense attention, causal where the
method is, in a process of its own. Appends to ``benchmarks/results/attention_methods.jsonl``; ``draw`` reads the newest
row of each method and length, prints the lengths from which on methods are quicker, and writes
``attention_methods.png`` beside it.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from harness import record

CLAIM = "attention_methods"


def worker(name: str, tokens: int, seconds: float) -> None:
    """Time one method at one length and print its row."""
    from harness.attention_methods import METHODS, compare

    (method,) = (one for one in METHODS if one.name == name)
    print("row " + json.dumps(compare(method, tokens, seconds)))


def measured(name: str, tokens: int, seconds: float) -> dict[str, Any]:
    """Run a worker, and return its row; a method that fails has its last words in place of figures."""
    command = [
        sys.executable,
        __file__,
        "worker",
        "--only",
        name,
        "--tokens",
        str(tokens),
        "--seconds",
        str(seconds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("row "):
            row: dict[str, Any] = json.loads(line[4:])
            return row
    words = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return {"axis": "method", "method": name, "tokens": tokens, "error": words}


def newest() -> dict[str, list[dict[str, Any]]]:
    """Read the newest row of each method and length: method -> rows."""
    lines = (record.RESULTS / f"{CLAIM}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {(row["method"], row["tokens"]): row for row in map(json.loads, lines) if "ms" in row}
    found: dict[str, list[dict[str, Any]]] = {}
    for (method, _), row in sorted(rows.items()):
        found.setdefault(method, []).append(row)
    return found


def draw() -> None:
    """Print the table of break-even lengths and write the picture."""
    from harness.attention_methods import break_even
    from harness.plots import draw_methods

    rows = newest()
    for method, points in rows.items():
        length = break_even(points)
        last = points[-1]
        print(
            f"{method:28s} {f'from {length:.0f} tokens' if length else 'never here':18s} "
            f"{last['tokens']} tokens: {last['ms']:.1f} ms, {last['speedup']:.2f}x of dense"
        )
    (record.RESULTS / f"{CLAIM}.png").write_bytes(draw_methods(rows))


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", nargs="?", choices=("all", "time", "draw", "worker"), default="all")
    parser.add_argument("--tokens", nargs="+", type=int, default=[1024, 2048, 4096, 8192])
    parser.add_argument("--only", nargs="+", help="names of methods; all if not given")
    parser.add_argument("--seconds", type=float, default=2.0, help="of turns for each row (default 2)")
    args = parser.parse_args()
    if args.step == "worker":
        worker(args.only[0], args.tokens[0], args.seconds)
        return
    if args.step in ("all", "time"):
        from harness.attention_methods import METHODS

        names = args.only or [method.name for method in METHODS]
        for tokens in args.tokens:
            for name in names:
                record.append(CLAIM, measured(name, tokens, args.seconds))
    if args.step in ("all", "draw"):
        draw()


if __name__ == "__main__":
    main()
