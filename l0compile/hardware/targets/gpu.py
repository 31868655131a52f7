"""What a GPU has to share between thread blocks, and how fast a card of its architecture is."""

from dataclasses import dataclass
from typing import Annotated, Literal

from l0compile.errors import ConfigError
from l0compile.ir.codec import Count, Meta, Positive, Text

NumberType = Literal["float32", "tf32", "float16", "bfloat16", "int8", "float8"]
"""Types of numbers that tensor cores multiply; they add in float32, or in int32."""


@dataclass(frozen=True)
class Gpu:
    """A graphics card: the limits of its architecture, and the speeds that its maker states.

    Attributes:
        card: the one that the speeds are those of, such as "NVIDIA H100 SXM5 80GB".
        shared_per_sm: bytes of shared memory of a multiprocessor.
        shared_per_block: bytes of it that one thread block may have, when it asks for more than 48 KiB.
        registers_per_sm: 32-bit registers of a multiprocessor.
        threads_per_sm: threads that may be resident on a multiprocessor.
        blocks_per_sm: thread blocks that may be resident on a multiprocessor.
        bandwidth_gbs: of its memory, in 10^9 bytes a second.
        boost_mhz: the clock that the speeds below hold at.
        float32_tflops: 10^12 operations a second outside tensor cores; a multiply-add is two.
        tensor_tflops: (type of numbers, 10^12 operations a second of its tensor cores) pairs, for dense matrices.
        launch_us: microseconds from one kernel to the next on a busy stream, besides the work of both.
    """

    card: Text
    shared_per_sm: Count
    shared_per_block: Count
    registers_per_sm: Count
    threads_per_sm: Annotated[int, Meta(ge=32, multiple_of=32, description="a multiple of 32 threads")]
    blocks_per_sm: Count
    bandwidth_gbs: Positive
    boost_mhz: Positive
    float32_tflops: Positive
    tensor_tflops: tuple[tuple[NumberType, Positive], ...]
    launch_us: Positive

    def __post_init__(self) -> None:
        if self.shared_per_block > self.shared_per_sm:
            raise ConfigError(
                f"shared_per_block: expected at most shared_per_sm, {self.shared_per_sm}, got {self.shared_per_block}"
            )

    def tflops(self, dtype: str) -> float:
        """Operations a second (10^12) of products of ``dtype``, by tensor cores where they take it."""
        return next((speed for name, speed in self.tensor_tflops if name == dtype), self.float32_tflops)
