"""Claim: CUDA kernels compile well for six architectures. Facts of the compiler; no GPU is needed, nothing is timed.

    python benchmarks/cuda_facts.py [--targets cuda-sm80 ...] [--cases "linear 64x64 float16" ...] [--missing]
    python benchmarks/cuda_facts.py --check [--targets ...] [--cases ...]
    python benchmarks/cuda_facts.py --table

A row for each kernel and architecture, by its default schedule: registers, spilled bytes, shared memory, theoretical
occupancy, and instructions by kind. Rows replace those of the same kernel and architecture in
``benchmarks/results/cuda_facts.jsonl``. ``--check`` compiles again and fails where code has become worse than on
record: spilled bytes, no tensor cores or asynchronous copies where there were some, or a lower occupancy. ``--table``
prints what is on record.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

from harness import cuda_cases, record

from l0compile.hardware.targets import list_targets, load_target
from l0compile.kernels.cuda.architecture import capability
from l0compile.kernels.cuda.toolchain import compiled_facts, cuda_code

FILE = record.RESULTS / "cuda_facts.jsonl"
GPUS = tuple(name for name in list_targets() if name.startswith("cuda"))
_KEPT = ("hmma", "hgmma", "hmma_sp", "imma", "ldgsts", "ldsm")


def main() -> None:
    """Write rows, compare with those on record, or print them."""
    cases = cuda_cases.cuda_cases()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", choices=GPUS, default=GPUS)
    parser.add_argument("--cases", nargs="+", choices=cases, default=list(cases))
    parser.add_argument("--missing", action="store_true", help="only what is not on record")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    known = {key(row): row for row in on_record()}
    if options.table:
        print("\n".join(table([row for row in known.values() if f"cuda-sm{key(row)[1]}" in options.targets])))
        return
    worse = []
    done = {each[:2] for each in known} if options.missing else set()
    for row in rows([cases[name] for name in options.cases], options.targets, done):
        if options.check:
            found = worse_than(row, known.get(key(row)))
            worse += [f"{row['case']}, {row['arch']}, {row['kernel']}: {text}" for text in found]
        else:
            known[key(row)] = row
            FILE.write_text("".join(json.dumps(known[each]) + "\n" for each in sorted(known)))
        print(json.dumps(row), flush=True)
    if worse:
        sys.exit("worse than on record:\n" + "\n".join(worse))


def key(row: dict[str, Any]) -> tuple[str, int, str]:
    """What a row is found by."""
    return row["case"], int(row["arch"].removeprefix("sm_").rstrip("a")), row["kernel"]


def on_record() -> list[dict[str, Any]]:
    """Read the rows on record."""
    return [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []


def rows(
    cases: list[cuda_cases.CudaCase], targets: list[str], done: set[tuple[str, int]]
) -> Iterator[dict[str, Any]]:
    """Compile each case for each target that has its numbers, but what is ``done`` already."""
    for name in targets:
        target = load_target(name)
        for case in cases:
            if capability(target) < case.least or (case.name, capability(target)) in done:
                continue
            for facts in compiled_facts(cuda_code(case.emit(target), target), target):
                yield {"case": case.name, "tensor_cores": case.tensor_cores, **dataclasses.asdict(facts)}


def worse_than(row: dict[str, Any], known: dict[str, Any] | None) -> list[str]:
    """Say where code is worse than on record, or than it may be."""
    found = []
    now = row["instructions"]
    if row["spill_bytes"] > (known or {}).get("spill_bytes", 0):
        found.append(f"{row['spill_bytes']} bytes of registers are spilled")
    if row.get("serialized"):
        found.append("products of warpgroups wait for one another")
    if row["blocks_per_sm"] == 0:
        found.append(f"no thread block fits a multiprocessor: {row['limit']}")
    if known is None:
        return [*found, "there is nothing on record"]
    found += [
        f"its {name} instructions are gone"
        for name in _KEPT
        if known["instructions"].get(name) and not now[name]
    ]
    if row["occupancy"] < known["occupancy"] - 1e-9:
        found.append(f"occupancy {row['occupancy']:.3f}, it was {known['occupancy']:.3f}")
    return found


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Make a Markdown table."""
    head = ["kernel", "architecture", "threads", "registers", "spilled", "shared, KiB", "occupancy", "tensor cores",
            "async copies", "ldmatrix", "FFMA"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---|---|" + "---:|" * (len(head) - 2)]
    for row in rows:
        many = row["instructions"]
        shared = (row["static_shared"] + row["dynamic_shared"]) / 1024
        cells = [row["case"], row["arch"], row["threads"], row["registers"], row["spill_bytes"], f"{shared:.1f}",
                 f"{row['occupancy']:.0%}", many["hmma"] + many.get("hgmma", 0) + many["imma"], many["ldgsts"],
                 many["ldsm"], many["ffma"]]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


if __name__ == "__main__":
    main()
