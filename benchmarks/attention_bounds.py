"""Claim: what attention on tensor cores has to wait for, by how it is cut. An analytic bound: nothing is timed.

    python benchmarks/attention_bounds.py [--targets cuda-sm80 cuda-sm90] [--dims 64 128]
    python benchmarks/attention_bounds.py --table

A row for each schedule: registers and occupancy of its compiled code, bytes that a warp reads from shared memory for
a multiply-add, and cycles of a multiprocessor for 1,024 multiply-adds. Two bounds of these: ``overlapped``, the busiest
of tensor cores, shared memory, exponentials and ordinary arithmetic, as if each hid behind the others; and ``in_turn``,
as if a warp did one after the other, so that only the other warps of its scheduler fill the gaps. The truth lies
between. Rows "FlashAttention 2" are of the tiles in its source, ``csrc/flash_attn/src/flash_fwd_launch_template.h``;
its registers are not published there, so that its occupancy is the most that its sums and scores alone leave.
"""

import argparse
import json
from dataclasses import dataclass
from typing import Any

from harness import record

from l0compile.hardware.costs.gpu.efficiencies import WARP_LEVEL
from l0compile.hardware.targets import Target, load_target, occupancy
from l0compile.kernels.cuda.attention.code import cuda_attention
from l0compile.kernels.cuda.attention.schedules import ATTENTION_SCHEDULES, CudaAttentionSchedule, held_depth
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec
from l0compile.kernels.cuda.toolchain import compiled_facts, cuda_code

FILE = record.RESULTS / "attention_bounds.jsonl"
_SCHEDULERS = 4
_SHARED_BYTES = 128  # that a multiprocessor reads in a cycle
_EXPONENTIALS = 16  # that it takes in a cycle
_LANES = 128  # that multiply or add in a cycle
_OPERATIONS = 3.5  # for a score: its difference from the largest, that one, the sum, half a conversion
_UNIT = 1024  # multiply-adds

# Those of the defaults before, and others that were tried.
_TRIED = {
    64: ((128, 64, 4, 2), (128, 32, 4, 2, 8, 3), (128, 64, 8, 2, 0, 2)),
    128: ((128, 64, 8, 2), (128, 32, 8, 2, 2, 2)),
}
# Queries and keys of a tile, and warps.
_FLASH_ATTENTION_2 = {64: (128, 128, 4), 128: (128, 64, 4)}


@dataclass(frozen=True)
class Cut:
    """How a thread block cuts its work, as far as bounds need it.

    Attributes:
        queries: of a warp.
        keys: of a step.
        dim: features of a head.
        again: share of the queries' features that a warp reads in each step.
    """

    queries: int
    keys: int
    dim: int
    again: float

    @property
    def shared_bytes(self) -> float:
        """Bytes that are read from shared memory for a multiply-add."""
        read = 2 * self.keys * self.dim + self.again * self.queries * self.dim
        return 2 * read / (2 * self.queries * self.keys * self.dim)


def main() -> None:
    """Write rows, or print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=["cuda-sm80", "cuda-sm90"])
    parser.add_argument("--dims", nargs="+", type=int, choices=_TRIED, default=list(_TRIED))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table([json.loads(line) for line in FILE.read_text().splitlines()])))
        return
    rows = [
        row for name in options.targets for dim in options.dims for row in rows_of(load_target(name), dim)
    ]
    FILE.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print("\n".join(table(rows)))


def rows_of(target: Target, dim: int) -> list[dict[str, Any]]:
    """Ours, the default first, then FlashAttention 2."""
    spec = CudaAttentionSpec(12, 12, dim, dim, dim**-0.5, "bfloat16")
    default = ATTENTION_SCHEDULES.default(spec, target)
    tried = [default, *(CudaAttentionSchedule(*given) for given in _TRIED[dim])]
    return [*(_ours(spec, target, one, one == default) for one in dict.fromkeys(tried)), _flash(target, dim)]


def _ours(
    spec: CudaAttentionSpec, target: Target, schedule: CudaAttentionSchedule, default: bool
) -> dict[str, Any]:
    (facts,) = compiled_facts(cuda_code(cuda_attention(spec, target, schedule), target), target)
    again = 1 - held_depth(spec, schedule) * 16 / spec.dim
    cut = Cut(schedule.warp_rows, schedule.keys, spec.dim, again)
    return {
        "kernel": "ours, default" if default else "ours", "arch": target.cpu, "dim": spec.dim,
        "tile": f"{schedule.queries}×{schedule.keys}", "warps": schedule.warps, "registers": facts.registers,
        "spill_bytes": facts.spill_bytes, "occupancy": facts.occupancy, "nvcc": facts.nvcc,
        **_bounds(cut, target, facts.blocks_per_sm * schedule.warps),
    }  # fmt: skip


def _flash(target: Target, dim: int) -> dict[str, Any]:
    queries, keys, warps = _FLASH_ATTENTION_2[dim]
    cut = Cut(queries // warps, keys, dim, 1.0)
    least = cut.queries * (keys + dim) // 32  # registers of a thread for scores and sums
    held = occupancy(target, 32 * warps, least, 2 * dim * (queries + 2 * keys))
    return {
        "kernel": "FlashAttention 2", "arch": target.cpu, "dim": dim, "tile": f"{queries}×{keys}", "warps": warps,
        "registers": f"over {least}", "spill_bytes": None, "occupancy": held.share, "nvcc": None,
        **_bounds(cut, target, held.blocks * warps),
    }  # fmt: skip


def _bounds(cut: Cut, target: Target, warps: int) -> dict[str, float]:
    """Cycles for ``_UNIT`` multiply-adds, which are ``_UNIT / (2 dim)`` scores."""
    assert target.gpu is not None
    a_cycle = 1e12 * target.gpu.tflops("bfloat16") / 2 / target.cores / (1e6 * target.gpu.boost_mhz)
    a_cycle *= WARP_LEVEL.get(target.cpu.rstrip("a"), 1.0)
    scores = _UNIT / (2 * cut.dim)
    times = {
        "products": _UNIT / a_cycle,
        "shared_memory": _UNIT * cut.shared_bytes / _SHARED_BYTES,
        "exponentials": scores / _EXPONENTIALS,
        "arithmetic": scores * (_OPERATIONS + cut.dim / cut.keys) / _LANES,
    }
    overlapped = max(times.values())
    in_turn = max(overlapped, sum(times.values()) / (warps / _SCHEDULERS))
    found = {"shared_bytes": cut.shared_bytes, **times, "overlapped": overlapped, "in_turn": in_turn}
    return {name: round(value, 4) for name, value in found.items()}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Make a Markdown table."""
    head = ["head", "architecture", "kernel", "tile, warps", "registers", "occupancy", "shared bytes", "products",
            "shared memory", "exponentials", "arithmetic", "overlapped", "in turn"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---:|---|---|---|" + "---:|" * (len(head) - 4)]
    for row in rows:
        most = "at most " if row["spill_bytes"] is None else ""
        times = ("products", "shared_memory", "exponentials", "arithmetic", "overlapped", "in_turn")
        cells = [row["dim"], row["arch"], row["kernel"], f"{row['tile']}, {row['warps']}", row["registers"],
                 f"{most}{row['occupancy']:.1%}", f"{row['shared_bytes']:.4f}",
                 *(f"{row[name]:.2f}" for name in times)]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


if __name__ == "__main__":
    main()
