"""Claim: CUDA's linear kernels compute right. Executed on the CPU by emulation; no GPU is needed, nothing is timed.

    python benchmarks/cuda_numerics.py [--targets cuda-sm90 ...] [--blocks dense 64x64 ...] [--types float16 ...]

A row for each block, type and kind of code (sm_75 has no asynchronous copies, and on sm_90a four warps multiply 16-bit
numbers together): the largest difference from float64 over several sizes with tails, as it is, and as a fraction of
what rounding allows (see ``l0compile.kernels.cuda.linear.problem``). Of int8 it is that from PyTorch's operator, of
which no bit may differ, and how many numbers do. Rows replace those of the same case in
``results/cuda_numerics.jsonl``.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from harness import record

from l0compile.hardware.targets import Target, load_target
from l0compile.kernels.cuda.emulation.run import emulate
from l0compile.kernels.cuda.integers.code import cuda_int8_linear
from l0compile.kernels.cuda.integers.problem import cuda_integer_problem
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.problem import CudaLinearProblem, cuda_linear_problem
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec
from l0compile.kernels.cuda.two_of_four.code import cuda_two_of_four_linear
from l0compile.kernels.cuda.two_of_four.problem import two_of_four_problem
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec

FILE = record.RESULTS / "cuda_numerics.jsonl"
TWO_OF_FOUR = "2:4"
BLOCKS = (
    "dense",
    TWO_OF_FOUR,
    "16x16",
    "32x32",
    "64x64",
    "128x64",
    "128x128",
    "16x1",
    "32x1",
    "64x1",
    "128x1",
)
TYPES = ("float16", "bfloat16", "tf32", "float32", "int8")
TARGETS = {name: load_target(name) for name in ("cuda-sm75", "cuda-sm80", "cuda-sm90")}

# n, k, tokens, whether tiles are for few tokens: all sizes whole chunks; none; few tokens.
SIZES = ((144, 136, 140, False), (83, 75, 5, False), (72, 304, 3, True))


def specs(block: str, dtype: str) -> Iterator[tuple[CudaLinearSpec, int]]:
    """Give the layers of a case, each with a number of tokens; between them they have every kind of epilogue."""
    rows, cols = (0, 0) if block == "dense" else map(int, block.split("x"))
    real, tf32 = ("float32", True) if dtype == "tf32" else (dtype, False)
    for (n, k, tokens, few), activation in zip(SIZES, ("gelu", "", "silu"), strict=True):
        made = CudaLinearSpec(n, k, rows, cols, real, True, few, rows > 0 and not few, activation, tf32, few)
        yield made, tokens


def problems(block: str, dtype: str, target: Target) -> Iterator[tuple[Any, CudaLinearProblem]]:
    """Give the functions of a case, each with what it gets and has to compute."""
    for spec, tokens in specs("dense" if block == TWO_OF_FOUR else block, dtype):
        if block != TWO_OF_FOUR:
            yield cuda_linear(spec, target), cuda_linear_problem(spec, tokens)
            continue
        last = (spec.dtype, spec.bias, spec.residual, spec.activation, spec.few)
        made = CudaTwoOfFourSpec(spec.n, spec.k, *last)
        yield cuda_two_of_four_linear(made, target), two_of_four_problem(made, tokens)


def case(block: str, dtype: str, target: Target) -> dict[str, Any]:
    """Run the layers of a case, and compare."""
    largest, fraction = 0.0, 0.0
    for function, problem in problems(block, dtype, target):
        found = emulate(function, target, problem.arrays)["y"]
        result = torch.from_numpy(np.asarray(found, np.float64))
        largest = max(largest, float((result - problem.expected).abs().max()))
        fraction = max(fraction, problem.error(result))
    return {
        "block": block,
        "type": dtype,
        "arch": target.cpu,
        "largest difference": largest,
        "of allowed": fraction,
    }


def integer_specs(block: str) -> Iterator[tuple[CudaIntegerLinearSpec, int]]:
    """Give layers of integers with activations that are exact, the first with results that are rounded."""
    rows, cols = (0, 0) if block == "dense" else map(int, block.split("x"))
    ends = ((77, "relu", False), (None, "relu", True), (None, "", False))
    for (n, k, tokens, few), (zero_point, activation, residual) in zip(SIZES, ends, strict=True):
        ordered, words = rows > 0 and not few, -(-k // 4)
        yield (
            CudaIntegerLinearSpec(
                n, words, rows, cols // 16, True, residual, ordered, activation, zero_point, few
            ),
            tokens,
        )


def integer_case(block: str, target: Target) -> dict[str, Any]:
    """Run the layers of integers, and compare."""
    largest, unequal, numbers = 0.0, 0, 0
    for spec, tokens in integer_specs(block):
        problem = cuda_integer_problem(spec, tokens, features=4 * spec.words - 1)
        found = emulate(cuda_int8_linear(spec, target), target, problem.arrays)["y"]
        result, wanted = torch.from_numpy(found), problem.expected
        if spec.zero_point is not None:
            result, wanted = result.view(torch.uint8), wanted.view(torch.uint8)
        away = (result.double() - wanted.double()).abs()
        largest, unequal = max(largest, float(away.max())), unequal + int((away != 0).sum())
        numbers += away.numel()
    return {
        "block": block,
        "type": "int8",
        "arch": target.cpu,
        "largest difference": largest,
        "unequal": unequal,
        "numbers": numbers,
    }


def main() -> None:
    """Run the cases that are asked for, and replace their rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=BLOCKS)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    options = parser.parse_args()
    rows = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
    known = {(row["block"], row["type"], row["arch"]): row for row in rows}
    for target in map(TARGETS.__getitem__, options.targets):
        for block in options.blocks:
            for dtype in options.types:
                if block == TWO_OF_FOUR and (dtype not in ("float16", "bfloat16") or target.cpu == "sm_75"):
                    continue  # no such kernel
                if dtype == "int8":
                    if block != "dense" and int(block.split("x")[1]) % 16:
                        continue  # such blocks are stored dense
                    made = integer_case(block, target)
                elif target.cpu != "sm_75" or dtype in ("float16", "float32"):
                    made = case(block, dtype, target)
                else:
                    continue
                row = made | {"commit": record.commit()}
                known[block, dtype, target.cpu] = row
                FILE.write_text("".join(json.dumps(one) + "\n" for one in known.values()))
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
