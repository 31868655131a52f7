"""What a linear kernel computes, and how."""

from dataclasses import dataclass
from typing import Literal

from l0compile.kernels.cpu.word_form import WordForm
from l0compile.kernels.token_tile import Tail


@dataclass(frozen=True)
class LinearSpec:
    """activation(W x + bias) + residual for a weight W [n, k].

    Attributes:
        n: output features.
        k: columns of W: input features, or words of them: four 8-bit integers, two bfloat16 numbers.
        rows: rows of a block of W.
        cols: columns of a block of W, as k counts them.
        dense: every block is there.
        bias: there is a bias.
        residual: there is a residual.
        activation: a key of ``ACTIVATIONS``.
        tail: tokens of the last tile, see ``Tail``.
        numbers: what is multiplied. Of "int8", sums start from integers, and each row has a scale. Of "bfloat16", sums
            are float32.
        result: the words in which results are written; None: they are float32.
        fits16: of "int8", see ``l0compile::packed_int8_linear``.
    """

    n: int
    k: int
    rows: int
    cols: int
    dense: bool
    bias: bool
    residual: bool
    activation: str
    tail: Tail = 0
    numbers: Literal["float32", "bfloat16", "int8"] = "float32"
    result: WordForm | None = None
    fits16: bool = False


@dataclass(frozen=True)
class LinearSchedule:
    """How a ``LinearSpec`` is computed.

    Attributes:
        rows: rows of a block that the microkernel accumulates at once; it walks a taller block in groups of them.
        vectors: registers of tokens that it takes at once; it walks a tile in groups of them.
        unroll: blocks computed in one turn of the loop over a block row.
        sums: independent sets of accumulators that these blocks take turns with, so that few rows and vectors do not
            wait for the adder.
        tiles: tiles of tokens that a group of rows is computed for before the next group, so that its weights are read
            from memory once for all of them.
    """

    rows: int
    vectors: int
    unroll: int = 1
    sums: int = 1
    tiles: int = 1
