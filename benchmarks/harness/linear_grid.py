"""The grid of linear layers, and how one point of it is timed."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from harness import linear_narrow
from l0compile.measurement import Protocol

Block = tuple[int, int] | None  # None: dense

# (outputs, inputs) of the layers of BERT-base and ViT-B, MiniLM, a Llama of 160 million weights, and odd ones.
SHAPES: tuple[tuple[int, int], ...] = (
    (768, 768), (3072, 768), (768, 3072), (384, 384), (1536, 384), (384, 1536), (2048, 768), (768, 2048),
    (1000, 770), (333, 517), (32000, 768),
)  # fmt: skip
TOKENS = (1, 8, 64, 128, 256, 1024)
FEW = (1, 8)
HEAD = 10_000  # outputs from which a layer is the head of a language model, which sees few tokens
BLOCKS: tuple[Block, ...] = (
    None, (4, 1), (8, 1), (4, 4), (8, 8), (16, 16), (32, 32), (16, 1), (2, 1), (1, 1), (1, 4), (64, 64),
)  # fmt: skip
NARROW_BLOCKS: dict[str, tuple[Block, ...]] = {
    "int8": (None, (4, 4), (8, 4), (2, 4), (1, 4), (16, 16), (32, 32)),
    "bfloat16": (None, (4, 2), (8, 2), (2, 2), (4, 4), (16, 16), (32, 32)),
}
DENSITIES = (0.5, 0.2, 0.1, 0.05)
ENGINES = ("onnxruntime", "openvino", "onednn")
LEAST_US = 50.0  # ideal time from which a point counts

# Short, for a grid of thousands of points; with several passes, seconds apart, one meets an undisturbed machine.
PROTOCOL = Protocol(warmup_s=0.006, blocks=2, block_s=0.006, settle_s=0.0, min_calls=2)
PASSES = 3


def tokens_of(shape: tuple[int, int]) -> tuple[int, ...]:
    return FEW if shape[0] >= HEAD else TOKENS


def blocks_of(numbers: str) -> tuple[Block, ...]:
    return NARROW_BLOCKS.get(numbers, BLOCKS)


def engines_of(numbers: str) -> tuple[str, ...]:
    return linear_narrow.ENGINES.get(numbers, ENGINES)


def block_name(block: Block) -> str:
    return "dense" if block is None else f"{block[0]}x{block[1]}"


def best_us(call: Callable[[], Any]) -> float:
    """Return the microseconds of a call, the least median of ``PROTOCOL.blocks`` blocks of back-to-back calls."""
    _calls(call, PROTOCOL.warmup_s)
    return min(statistics.median(_calls(call, PROTOCOL.block_s)) for _ in range(PROTOCOL.blocks)) * 1e-3


def _calls(call: Callable[[], Any], seconds: float) -> list[int]:
    clock, times = time.perf_counter_ns, list[int]()
    end = clock() + int(seconds * 1e9)
    stop = clock()
    while stop < end or len(times) < PROTOCOL.min_calls:
        start = clock()
        call()
        stop = clock()
        times.append(stop - start)
    return times
