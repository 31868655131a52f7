"""Claim: attention through a window takes time in proportion to the scores that the window keeps.

    python benchmarks/windows.py FOLDER                  # everything; kernels and finished cases are kept in FOLDER
    python benchmarks/windows.py FOLDER --build          # compile only
    python benchmarks/windows.py FOLDER --seconds 60     # begins no case after a minute, and continues next time

12 heads of 64, one sequence, float32, two threads. Efficiency is the time of our attention to all keys, times the share
of the scores that the window keeps, over the time of the window. The causal window of 256 keys is also compared with
PyTorch's causal attention and with compiled FlexAttention, whose BlockMask holds the same window in blocks of 64 or
128. Each engine has a process of its own; they take turns. Appends to ``benchmarks/results/windows.jsonl``.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from harness import in_turns, record
from harness.windows import Window, engines, prepare

SHARES = (0.05, 0.1, 0.2, 0.35, 0.5)
SYMMETRIC = (0.05, 0.1, 0.25, 0.5)


def cases() -> list[Window]:
    """List the windows: the causal one of 256 keys, then by the share of the scores that they keep."""
    found = [Window(tokens, 255, 0) for tokens in (4096, 8192)]
    found += [_causal(4096, share) for share in SHARES]
    for share in SYMMETRIC:
        half = round(4096 * (1 - (1 - share) ** 0.5))
        found.append(Window(4096, half, half))
    return found


def _causal(tokens: int, share: float) -> Window:
    """Return the causal window that keeps ``share`` of all scores, or all up to the query where that is less."""
    inside = max(0.0, 1 - 2 * share)
    return Window(tokens, min(tokens, round(tokens * (1 - inside**0.5))) - 1, 0)


def measure(window: Window, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Measure a window: engine -> milliseconds of calls."""
    text = json.dumps(dataclasses.asdict(window))
    start = [sys.executable, __file__, str(folder), "--worker"]
    return in_turns.measure({name: [*start, name, text] for name in engines(window)}, rounds)


def row(window: Window, samples: dict[str, list[float]]) -> dict[str, Any]:
    """Make a row: medians, their middle half, our efficiency, and the time of each other engine over ours."""
    middle = {name: median(times) for name, times in samples.items()}
    ours = middle["l0compile"]
    return {
        "case": window.name, **dataclasses.asdict(window), "kept": round(window.kept, 5),
        "median_ms": {name: round(ms, 3) for name, ms in middle.items()},
        "quartiles_ms": in_turns.quartiles(samples, 3),
        "efficiency": round(middle["l0compile-dense"] * window.kept / ours, 3),
        "over_ours": {name: round(ms / ours, 2) for name, ms in middle.items() if not name.startswith("l0compile")},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--build", action="store_true", help="compile everything, measure nothing")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.worker:
        engine, text = given.worker
        in_turns.answer(prepare(engine, Window(**json.loads(text)), given.folder))
        return
    end, done = time.monotonic() + given.seconds, given.folder / "done.jsonl"
    rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
    for window in cases():
        if given.build:
            measure(window, given.folder, 0)
        elif window.name not in {found["case"] for found in rows} and time.monotonic() < end:
            rows.append(row(window, measure(window, given.folder, in_turns.ROUNDS)))
            record.append("windows", rows[-1])
            done.write_text("".join(json.dumps(found) + "\n" for found in rows))
    shares = [found["efficiency"] for found in rows if 0.04 < found["kept"] < 0.51]
    if shares:
        print(f"efficiency: geometric mean {geometric_mean(shares):.3f}, worst {min(shares):.3f}")


if __name__ == "__main__":
    main()
