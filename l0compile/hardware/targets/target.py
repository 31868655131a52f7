"""The ``Target`` value: instruction set, registers, caches, cores and how fast each block shape runs."""

from dataclasses import dataclass
from typing import Literal

from l0compile.hardware.targets.gpu import Gpu
from l0compile.ir.codec import Count

_INSTRUCTIONS = {
    "int8": ("avx512vnni", "avxvnni", "i8mm", "avx512bw", "avx2"),
    "bfloat16": ("avx512bf16", "bf16"),
}


@dataclass(frozen=True)
class Core:
    """What code generation assumes of one core. The defaults were measured on Zen 4 and Zen 5; a target may differ.

    Attributes:
        rows: features that a microkernel accumulates at once, beside as many tokens as fit the registers.
        latency: cycles from a multiply-add to its result.
        accumulators: independent sums that keep all multiply-add units busy.
        line_bytes: bytes of a cache line.
        prefetch_bytes: how far ahead weights are asked for: about what is computed while memory answers.
        tile_bytes: bytes of activations that leave the second cache room for weights and results.
        parallel_elements: elements of a plain loop from which waking the other threads pays.
        products_per_ms: multiply-adds of PyTorch's matrix products in a millisecond, a careful estimate.
        elements_per_ms: elements that any other operator of PyTorch reads and writes in a millisecond.
        waking_ms: milliseconds of PyTorch's work on one thread from which waking its other threads pays.
    """

    rows: Count = 4
    latency: Count = 4
    accumulators: Count = 8
    line_bytes: Count = 64
    prefetch_bytes: Count = 2048
    tile_bytes: Count = 512 << 10
    parallel_elements: Count = 16384
    products_per_ms: Count = 10_000_000
    elements_per_ms: Count = 300_000
    waking_ms: Count = 1


@dataclass(frozen=True)
class Target:
    """A machine type to generate code for. Hashable, so that it can key caches of kernels and measurements.

    Attributes:
        name: of its file, or ``native``.
        kind: "llvm" (CPU) or "cuda".
        triple: LLVM triple, such as ``x86_64-linux-gnu``; for CUDA that of the device.
        cpu: LLVM CPU or ISA level (``x86-64-v4``); for CUDA the architecture (``sm_80``).
        attrs: LLVM features switched on or off beyond ``cpu``, such as ``("-prefer-256-bit",)``.
        vector_bits: width of a vector register; for CUDA a warp of 32-bit lanes (1024).
        registers: vector registers of a thread.
        l1_bytes: of a core.
        l2_bytes: of a core; of a GPU: of the chip.
        l3_bytes: shared by all cores; 0: none.
        cores: physical cores to use; streaming multiprocessors of a GPU.
        dtypes: floating-point types that kernels may compute in.
        blocks: (rows, cols) shapes of block-sparse weights that have a kernel, best first.
        efficiency: pairs ((rows, cols), speed for each nonzero, relative to the dense kernel).
        device: what machines of this type are called at a tracker of TVM's RPC; costs measured on them hold. Empty:
            those of this machine hold.
        core: what kernels and schedules assume of one core.
        dot_products: LLVM features with instructions that multiply and add narrow numbers: "avx512vnni", "avxvnni",
            "i8mm" for 8-bit integers, "avx2" and "avx512bw" for pairs of 16-bit integers that those are widened to,
            "avx512bf16" and "bf16" for bfloat16.
        gpu: of a CUDA target: limits of the architecture, and speeds of a card that has it.
    """

    name: str
    kind: Literal["llvm", "cuda"]
    triple: str
    cpu: str
    attrs: tuple[str, ...]
    vector_bits: int
    registers: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    cores: int
    dtypes: tuple[str, ...]
    blocks: tuple[tuple[int, int], ...]
    efficiency: tuple[tuple[tuple[int, int], float], ...]
    device: str = ""
    core: Core = Core()
    dot_products: tuple[str, ...] = ()
    gpu: Gpu | None = None

    def multiplies(self, precision: str) -> bool:
        """Whether it has instructions for "int8" or "bfloat16"; without, plain arithmetic is slower than float32."""
        if self.gpu is not None:
            return precision == "float32" or precision in dict(self.gpu.tensor_tflops)
        return precision == "float32" or not set(_INSTRUCTIONS.get(precision, ())).isdisjoint(
            self.dot_products
        )

    @property
    def lanes32(self) -> int:
        """The number of 32-bit numbers in a vector register."""
        return self.vector_bits // 32

    @property
    def arch(self) -> str:
        """The first part of the triple: ``x86_64``, ``aarch64``, ``nvptx64``."""
        return self.triple.split("-", 1)[0]

    def block_efficiency(self, rows: int, cols: int) -> float:
        """Return the speed of the ``rows x cols`` kernel for each nonzero, relative to the dense one; 0.0: none.

        A shape that is not listed can be split into listed shapes that divide it, and runs as fast as the fastest of
        them. A region is worth making block-sparse if its kept density is below this number.
        """
        table = dict(self.efficiency)
        if (rows, cols) in table:
            return table[rows, cols]
        return max((speed for (r, c), speed in table.items() if rows % r == 0 and cols % c == 0), default=0.0)
