"""Claim: our block-sparse kernel is compiled at least as well as PyTorch's. Facts of compilers; nothing is timed.

    pip install triton==3.7.1; python benchmarks/triton_bsr.py

Blocks of 64x64 in float16 and bfloat16. PyTorch 2.13 has tuned its Triton kernel for A100 only: tiles of 64 tokens, 4
warps, 3 or 4 stages in most of its entries; any other card gets one stage. torchao took four.

- ``occupancy``: theoretical, of warps.
- ``global_bytes``: a multiply-add fetches from global memory (or the cache before it): a tile of T tokens and R outputs
  reads (T + R) numbers for T * R of them, so bytes * (1 / T + 1 / R).
- ``shared_bytes``: a multiply-add reads from shared memory: bytes of LDSM and LDS in the loop, or of the operands that
  HGMMA reads there, over the multiply-adds of the tensor-core instructions beside them, both counted in the machine
  code.
- ``instruction``: of the tensor cores: HMMA is started by a warp, HGMMA by four (wgmma, sm_90 only).

Appends to ``benchmarks/results/triton_bsr.jsonl``.
"""

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from harness import record, triton_bsr

from l0compile.hardware.targets import load_target, occupancy
from l0compile.kernels.cuda.architecture import capability
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.schedules import default_schedule
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec
from l0compile.kernels.cuda.toolchain import compiled_facts, cubin, cuda_code
from l0compile.kernels.cuda.toolchain.sass import opcodes, registers_of

BLOCK, BYTES = 64, 2
# Architecture -> (what it is, tokens, warps, stages) of Triton.
SETTINGS = {
    "cuda-sm80": (("tuned by PyTorch", 64, 4, 3), ("tuned by PyTorch", 64, 4, 4), ("not tuned", 64, 4, 1)),
    "cuda-sm90": (("PyTorch", 64, 4, 1), ("torchao", 64, 4, 4)),
}


def main() -> None:
    """Append a row for each kernel, architecture and type of numbers."""
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in SETTINGS.items():
            for dtype in ("float16", "bfloat16"):
                record.append(
                    "triton_bsr", {"kernel": "ours", "target": name, "dtype": dtype, **ours(name, dtype)}
                )
                for what, tokens, warps, stages in settings:
                    found = theirs(name, dtype, tokens, warps, stages, Path(folder))
                    row = {"kernel": f"Triton, {what}", "target": name, "dtype": dtype, **found}
                    record.append("triton_bsr", row)


def ours(name: str, dtype: str) -> dict[str, Any]:
    """Facts of our kernel, by its default schedule."""
    target = load_target(name)
    spec = CudaLinearSpec(4096, 4096, BLOCK, BLOCK, dtype, False, False, True, "")
    schedule, code = default_schedule(spec, target), cuda_code(cuda_linear(spec, target), target)
    (facts,) = compiled_facts(code, target)
    (found,) = opcodes(cubin(code.source, target)).values()
    return {
        "tokens": schedule.tokens, "warps": facts.threads // 32, "stages": schedule.stages,
        "registers": facts.registers, "shared": facts.dynamic_shared + facts.static_shared,
        "blocks_per_sm": facts.blocks_per_sm, "occupancy": facts.occupancy,
        **bytes_of_products(found, schedule.tokens, schedule.outputs),
    }  # fmt: skip


def theirs(name: str, dtype: str, tokens: int, warps: int, stages: int, folder: Path) -> dict[str, Any]:
    """Facts of PyTorch's kernel."""
    target = load_target(name)
    made = triton_bsr.compiled(capability(target), dtype, BLOCK, tokens, warps, stages, folder)
    (found,) = opcodes(made.asm["cubin"]).values()
    (registers,) = registers_of(made.asm["cubin"]).values()
    held = occupancy(target, 32 * warps, registers, made.metadata.shared)
    return {
        "tokens": tokens, "warps": warps, "stages": stages, "registers": registers, "shared": made.metadata.shared,
        "blocks_per_sm": held.blocks, "occupancy": held.share, **bytes_of_products(found, tokens, BLOCK),
    }  # fmt: skip


def bytes_of_products(found: Counter[str], tokens: int, outputs: int) -> dict[str, Any]:
    """Bytes of global and of shared memory for each multiply-add, and by what instruction it is made."""
    products = read = 0
    instruction = ""
    for opcode, count in found.items():
        parts = opcode.split(".")
        if parts[0] == "HMMA":  # m16n8k16 or m16n8k8
            products, instruction = products + count * (2048 if parts[1] == "16816" else 1024), "HMMA"
        elif wide := re.fullmatch(r"(\d+)x(\d+)x(\d+)", parts[1] if parts[0] == "HGMMA" else ""):
            m, n, k = map(int, wide.groups())
            products, read = products + count * m * n * k, read + count * (m + n) * k * BYTES
            instruction = "HGMMA"
        elif parts[0] == "LDSM":
            read += count * 128 * int(parts[-1])
    return {
        "global_bytes": round(BYTES * (1 / tokens + 1 / outputs), 4),
        "shared_bytes": round(read / products, 4),
        "instruction": instruction,
    }


if __name__ == "__main__":
    main()
