"""The operations and bytes of a linear layer, and the limits of this machine for both."""

import time
from collections.abc import Callable

import torch
from torch import nn

from l0compile.ir.ops.bsr import nonzero_blocks


def flop_and_bytes(layer: nn.Linear, tokens: int, block: tuple[int, int]) -> tuple[float, float]:
    """Count operations on nonzero blocks, and bytes of these blocks, their indices, inputs and results, each once."""
    n, k = layer.weight.shape
    blocks = int(nonzero_blocks(layer.weight, *block).sum())
    numbers = blocks * block[0] * block[1]
    places = blocks if numbers < n * k else 0
    return 2.0 * numbers * tokens, 4.0 * (numbers + places + n + tokens * (k + n))


def limits() -> dict[str, float]:
    """Measure GFLOP/s of PyTorch's best matrix product, and GB/s of a copy in memory and in the L2 cache."""
    square = torch.randn(1536, 1536)
    out = torch.empty_like(square)
    product = _seconds(lambda: torch.mm(square, square, out=out))
    result = {"gflop_per_s": 2e-9 * 1536**3 / product}
    # A quarter of the L2 cache per core, so that source and result stay in it.
    sizes = {"memory_gb_per_s": 1 << 26, "cache_gb_per_s": (1 << 16) * torch.get_num_threads()}
    for name, count in sizes.items():
        source, target = torch.randn(count), torch.empty(count)

        def copy(target: torch.Tensor = target, source: torch.Tensor = source) -> torch.Tensor:
            return target.copy_(source)

        result[name] = 8e-9 * count / _seconds(copy)
    return {name: round(value, 2) for name, value in result.items()}


def _seconds(call: Callable[[], object]) -> float:
    """Return the time of the fastest call among those that fit in 0.6 s."""
    best, end = float("inf"), time.perf_counter() + 0.6
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
