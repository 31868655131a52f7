"""One way to leave a layer: what an allocation chooses among."""

from dataclasses import dataclass
from typing import Literal

import torch

from l0compile.ir.ops.words import features_of

Shape = tuple[int, int]
Numbers = Literal["float32", "bfloat16", "int8"]
"""What a linear layer multiplies."""


def has_kernel(block: Shape | None, precision: Numbers) -> bool:
    """Whether kernels of a precision can skip blocks of a shape: its columns have to be whole words of numbers."""
    return block is None or block[1] % features_of(getattr(torch, precision)) == 0


@dataclass(frozen=True)
class Level:
    """One way to leave a layer, or the heads or neurons that it reads.

    block: shape of the blocks, or None for the layer as it is. number: the level on the path of that shape. density:
    the share of blocks left. loss: what the model loses. ms: the predicted time of the layer. precision: of its
    numbers.
    """

    block: Shape | None
    number: int
    density: float
    loss: float
    ms: float
    precision: Numbers = "float32"
