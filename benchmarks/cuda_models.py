"""Claim: whole models lower and link for GPUs, with no operator left to PyTorch. Nothing runs: no GPU is needed.

    python benchmarks/cuda_models.py [--model BERT-base] [--target cuda-sm80] [--only float32|float16|bfloat16|zeros]

    python benchmarks/cuda_models.py --table

A row for each model, target and type of numbers: its kernels, what they launch in a call, islands, bytes of machine
code, and what ptxas says of spills. Appends to ``benchmarks/results/cuda_models.jsonl``; needs nvcc.
"""

import argparse
import logging
import re
import time
from typing import Any

import torch
from harness import gpu_models, record

import l0compile as l0
from l0compile.kernels.cuda.toolchain import compile_source, find_toolchain
from l0compile.runtime import CudaStage

VARIANTS = {
    "float32": (torch.float32, False),
    "float16": (torch.float16, False),
    "bfloat16": (torch.bfloat16, False),
    "zeros": (torch.bfloat16, True),
}


def main() -> None:
    """Append a row for each model that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=[case.name for case in gpu_models.CASES])
    parser.add_argument("--target", default=None)
    parser.add_argument("--only", choices=list(VARIANTS), help="one row of each model and target")
    parser.add_argument("--table", action="store_true", help="print the newest rows as a table")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table(record.newest("cuda_models", ("model", "target", "dtype", "zeros")))))
        return
    logging.disable(logging.WARNING)  # that nothing is verified is no news here
    for case in gpu_models.CASES:
        if options.model in (None, case.name):
            for target in [options.target] if options.target else ["cuda-sm80", "cuda-sm90"]:
                for dtype, zeros in [VARIANTS[options.only]] if options.only else VARIANTS.values():
                    record.append("cuda_models", row(case, target, dtype, zeros))


def row(case: gpu_models.GpuModelCase, target: str, dtype: torch.dtype, zeros: bool) -> dict[str, Any]:
    """Compile, and say what came out."""
    model, inputs = case.build(dtype, zeros), case.inputs(dtype)
    start = time.perf_counter()
    compiled = l0.compile(model, (), inputs, target=target, dynamic_shapes=case.dynamic_shapes)
    seconds = time.perf_counter() - start
    told = compiled.explain()
    (step,) = compiled._plan.steps
    stage = step.stage
    assert isinstance(stage, CudaStage)
    remarks = compile_source(stage.source, compiled.target).remarks
    spills = sum(map(int, re.findall(r"(\d+) bytes spill (?:stores|loads)", remarks)))
    return {
        "model": case.name,
        "target": target,
        "dtype": str(dtype).removeprefix("torch."),
        "zeros": "90 % of the 64x64 blocks" if zeros else "none",
        "block-sparse layers": sum(region.block is not None for region in told.regions),
        "kernels": len(stage.kernel_names),
        "launches of our kernels": len(told.launches),
        "ordinary operators": dict(told.ordinary),
        "islands": len(told.islands),
        "machine code bytes": stage.machine_code_bytes,
        "spill bytes": spills,
        "seconds to compile": round(seconds, 1),
        "nvcc": find_toolchain().version,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Make a Markdown table."""
    head = ["model", "architecture", "numbers", "zeros", "kernels", "launches of ours", "islands", "machine code, KB",
            "spilled"]  # fmt: skip
    lines = [head, ["---", "---", "---", "---", *["---:"] * 5]]
    for row in rows:
        lines.append([
            row["model"], row["target"].removeprefix("cuda-"), row["dtype"], row["zeros"], str(row["kernels"]),
            str(row["launches of our kernels"]), str(row["islands"]), f"{row['machine code bytes'] / 1e3:.0f}",
            str(row["spill bytes"]),
        ])  # fmt: skip
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
