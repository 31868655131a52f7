"""Claim: attention to listed keys takes time in proportion to the scores that its lists keep.

    python benchmarks/block_attention.py FOLDER                # kernels and finished cases are kept in FOLDER
    python benchmarks/block_attention.py FOLDER --build        # compile only
    python benchmarks/block_attention.py FOLDER --seconds 60   # begins no case after a minute, and continues next time

12 heads of 64, one sequence, float32, two threads; blocks of 64 queries and 64 keys. Efficiency is the time of our
attention to all keys, times the share of the scores that a pattern leaves alive, over the time of the pattern; dead
scores of a block that is partly alive do not count as kept. Decoding is one query against the same query on all keys.
Compiled FlexAttention has the same pattern as its BlockMask. Each engine has a process of its own; they take turns.
Appends to ``benchmarks/results/block_attention.jsonl``.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from harness import in_turns, record
from harness.listed_keys import Listed, engines, kept, prepare

PATTERNS = (
    "window 256", "window 1024", "around 256", "bigbird", "sinks 128", "sinks 64", "strided 8", "random 5",
    "random 10", "random 20", "random 50",
)  # fmt: skip
DECODE = (
    "decode blocks 4",
    "decode blocks 16",
    "decode columns 256",
    "decode columns 819",
    "decode columns 2048",
)


def cases() -> list[Listed]:
    """List the cases, those of 8,192 tokens last."""
    found = [Listed(pattern, tokens) for tokens in (4096, 8192) for pattern in PATTERNS]
    return [*found, *(Listed(pattern, 8192) for pattern in (*DECODE, "vertical-slash 1000"))]


def measure(case: Listed, folder: Path) -> dict[str, list[float]]:
    """Measure a case: engine -> samples in ms."""
    text = json.dumps(dataclasses.asdict(case))
    start = [sys.executable, __file__, str(folder), "--case", text, "--worker"]
    return in_turns.measure({name: [*start, name] for name in engines(case)})


def row(case: Listed, samples: dict[str, list[float]]) -> dict[str, Any]:
    """Make a row: medians, their middle half, efficiency, and FlexAttention's time over ours."""
    middle = {name: round(median(times), 4) for name, times in samples.items()}
    spread = in_turns.quartiles(samples, 4)
    ours, flex, share = middle["l0compile"], middle.get("flex_attention"), kept(case)
    return {
        "case": f"{case.pattern}, {case.tokens}", **dataclasses.asdict(case), "kept": round(share, 5),
        "median_ms": middle, "quartiles_ms": spread, "efficiency": round(middle["dense"] * share / ours, 3),
        "over_dense": round(middle["dense"] / ours, 2),
        "over_flex_attention": round(flex / ours, 2) if flex else None,
    }  # fmt: skip


def run(folder: Path, seconds: float) -> None:
    """Measure the cases that have no result in ``folder``; sum up when there is none left."""
    end, done = time.monotonic() + seconds, folder / "done.jsonl"
    rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
    for case in cases():
        if time.monotonic() > end:
            return
        if (case.pattern, case.tokens) not in {(one["pattern"], one["tokens"]) for one in rows}:
            rows.append(row(case, measure(case, folder)))
            record.append("block_attention", rows[-1])
            with done.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    record.append("block_attention", summary(rows))


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a row of geometric means: of all patterns, and of decoding."""
    found = [one["efficiency"] for one in rows if one["pattern"] in PATTERNS]
    flex = [one["over_flex_attention"] for one in rows if one["over_flex_attention"]]
    decode = [one["efficiency"] for one in rows if one["pattern"] in DECODE]
    return {
        "case": "all patterns", "efficiency": round(geometric_mean(found), 3), "worst": min(found),
        "over_flex_attention": round(geometric_mean(flex), 2), "least_over_flex_attention": min(flex),
        "decode_efficiency": round(geometric_mean(decode), 3), "decode_worst": min(decode),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--build", action="store_true", help="compile only")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.worker:
        in_turns.answer(prepare(given.worker, Listed(**json.loads(given.case)), given.folder))
    elif given.build:
        for case in cases():
            for engine in ("l0compile", "dense"):
                prepare(engine, case, given.folder)
    else:
        run(given.folder, given.seconds)


if __name__ == "__main__":
    main()
