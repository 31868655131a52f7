"""How well kernels use a GPU: the constants of the analytic model, and which published figures they come from.

``VENDOR`` and ``TRITON`` describe code that others have timed: cuBLAS and FlashAttention, and the block-sparse Triton
kernels of PyTorch. They are there to check the model. ``OURS`` describes the kernels of this package, which nobody has
timed: the model of the others, with what is known of the instructions that they use, and a wide band. Its ``fixed_us``
is half of the others', whose published times are between events and hold what those take.

``benchmarks/gpu_predictions.py`` holds the published figures with their sources, says which of them these constants
were fitted to, and how the model does on the others.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Efficiencies:
    """How well a family of kernels uses a GPU.

    Attributes:
        tensor: of the stated speed of tensor cores that long products reach.
        plain: the same outside tensor cores.
        attention: of tensor cores, in attention to all keys.
        sparse_attention: speed for each read key of attention to listed blocks, over that of attention to all.
        memory: of the stated bandwidth that is reached.
        block_columns: a block of a weight takes as long as if it had this many more columns.
        warp_level: its products are those that one warp starts (``mma.sync``); tensor cores of sm_90 and later reach
            their stated speed only by instructions for four warps.
        warpgroups: but four warps begin those of 16-bit numbers in linear layers, in tiles of 64 tokens and more, where
            there are such instructions: on sm_90a.
        sharing: how many multiprocessors get the operands of a tile by one read of the second cache.
        passes: times that activations go through memory: 1 where the kernel reads and writes them as they are.
        padding_kernels: launches beside its own for fewer than 16 tokens.
        fixed_us: microseconds of a kernel that has next to nothing to do, beside its launch.
        band: the true time lies between the predicted one divided and multiplied by it.
    """

    tensor: float
    plain: float
    attention: float
    sparse_attention: float
    memory: float
    block_columns: float
    warp_level: bool
    warpgroups: bool
    sharing: float
    passes: float
    padding_kernels: int
    fixed_us: float
    band: float


VENDOR = Efficiencies(
    tensor=0.8, plain=0.8, attention=0.65, sparse_attention=0.82, memory=0.7, block_columns=0.0, warp_level=False,
    warpgroups=False, sharing=3.0, passes=1.0, padding_kernels=0, fixed_us=4.0, band=1.5,
)  # fmt: skip
TRITON = Efficiencies(
    tensor=0.485, plain=0.485, attention=0.6, sparse_attention=0.82, memory=0.7, block_columns=60.0, warp_level=True,
    warpgroups=False, sharing=1.0, passes=3.0, padding_kernels=2, fixed_us=4.0, band=2.0,
)  # fmt: skip
OURS = Efficiencies(
    tensor=0.7, plain=0.55, attention=0.5, sparse_attention=0.82, memory=0.7, block_columns=8.0, warp_level=True,
    warpgroups=True, sharing=1.0, passes=1.0, padding_kernels=0, fixed_us=2.0, band=2.0,
)  # fmt: skip

WARP_LEVEL = {"sm_90": 0.62, "sm_100": 0.31}
"""Share of the stated speed that ``mma.sync`` reaches. Hopper: 62 % on average, "Benchmarking and Dissecting the NVIDIA
Hopper GPU Architecture via Microbenchmarking", arXiv 2402.13499. Blackwell: assumed to be half of that."""

L2_BYTES_PER_CYCLE = 32 * 0.75
"""Bytes that a multiprocessor gets from the second cache in a cycle: half of the 64 that A100 is stated to read, less a
quarter. On A100 that is 3.7, on H100 5.8 TB/s; measured ones in the same paper lie between 3.6 and 5.7.

Shared memory gives or takes 128 bytes in a cycle. It is no resource of the model, since it never is the slowest one: a
product of a 128x64 tile moves 0.047 bytes from the second cache, and 0.11 in shared memory by warpgroups, or 0.17 by
warps."""

TWO_OF_FOUR = "2:4"
"""The word of a workload whose weight has two zeros in each group of four, in products that skip them."""

TWO_OF_FOUR_SPEED = 278.7 / 194
"""How much faster such products are than the dense ones of the same kind. Stated is 2. On an RTX 4090 in float16 at
16,384 cubed tilelang reached 278.7 TFLOPS with them, CUTLASS 194 and cuBLAS 154 without (tilelang, pull request 1056);
this is the cautious one of the two ratios."""
