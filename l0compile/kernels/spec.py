"""What a kernel is asked to compute (one frozen value per kernel) and the token tile it is written for."""

from dataclasses import dataclass
from typing import TypeAlias

from l0compile.ir.ops.planes import Planes

Tail: TypeAlias = int | None
"""Tokens of the last tile of a packed tensor: 0 when they fill it; None when only the call tells, and the kernel takes
their number, ``tokens``, behind its tensors. What a kernel writes in lanes past the last token's register is undefined.
"""


@dataclass(frozen=True)
class TokenTile:
    """How many tokens travel together and how they lie in registers.

    lanes: tokens of a tile (the last axis of a packed tensor). vector: float32 elements of one register.
    rows: features a microkernel accumulates at once; rows * lanes / vector accumulators must fit the register file.
    threads: worker threads a loop is cut for. registers: the size of that file.
    """

    lanes: int
    vector: int
    rows: int
    threads: int
    registers: int

    @property
    def vectors(self) -> int:
        return self.lanes // self.vector


@dataclass(frozen=True)
class LinearSpec:
    """activation(W x + bias) + residual; W is [n, k] in blocks of rows x cols, ``dense`` when every block is there.

    tail: tokens of the last tile, see ``Tail``.
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


@dataclass(frozen=True)
class LinearSchedule:
    """How a ``LinearSpec`` is computed; the result does not depend on it.

    rows: rows of a block that the microkernel accumulates at once; taller blocks are walked in groups of them.
    vectors: registers of tokens it takes at once; a tile is walked in groups of them.
    unroll: blocks computed in one turn of the loop over a block row. sums: independent sets of accumulators that these
    blocks take turns with, so that few rows and vectors do not wait for the adder. tiles: of tokens that a group of
    rows is computed for before the next one, so that its weights are read from memory once for all of them.
    """

    rows: int
    vectors: int
    unroll: int = 1
    sums: int = 1
    tiles: int = 1


@dataclass(frozen=True)
class AttentionSpec:
    """Attention over packed tokens: ``heads`` query heads of ``dim`` share ``kv_heads`` key and value heads.

    value_dim: width of a value head. mask: a mask that is one for all queries, or None. bias_heads: heads of a mask
    packed with queries in lanes; 0 where there is none.
    """

    heads: int
    kv_heads: int
    dim: int
    value_dim: int
    scale: float
    causal: bool
    mask: "MaskSpec | None" = None
    bias_heads: int = 0


@dataclass(frozen=True)
class MaskSpec:
    """A mask [batch, head, query, key] of bool (True = attend) or float32 (added); full[i]: axis i is not of size 1."""

    full: tuple[bool, bool, bool, bool]
    boolean: bool


@dataclass(frozen=True)
class NormSpec:
    """LayerNorm (``centred``) or RMSNorm of a vector of ``width`` channels, at the ``features`` of them that are left.

    removed_mean: mean of the other width - features channels. removed_squares: the sum of their squares, taken from
    their mean when ``centred``. See ir/ops/norm.py for the formulas.
    """

    features: int
    eps: float
    centred: bool
    weight: bool
    bias: bool
    width: int
    removed_mean: float = 0.0
    removed_squares: float = 0.0
    tail: Tail = 0


@dataclass(frozen=True)
class RopeSpec:
    """Turn the halves of each of ``heads`` heads of ``dim`` features by an angle per token and feature.

    interleaved: neighbouring features instead, by an angle per token and pair.
    """

    heads: int
    dim: int
    tail: Tail = 0
    interleaved: bool = False


@dataclass(frozen=True)
class PackSpec:
    """Move ``features`` per token between rows [M, F] and packed [T, F, L]; ``unpack`` is the way back."""

    features: int
    unpack: bool


@dataclass(frozen=True)
class ConvSpec:
    """activation(W x + bias + residual) on planes; W in blocks of ``rows`` x 1 over ``columns`` taps of channels.

    channels, size: planes of an input image, and numbers in each. result: layout of the output planes.
    The activation "prelu" takes a slope for each of the n planes.
    """

    n: int
    columns: int
    rows: int
    channels: int
    size: int
    result: Planes
    dense: bool
    bias: bool
    residual: bool
    activation: str


@dataclass(frozen=True)
class CopySpec:
    """Move ``channels`` planes from one layout to another, every ``step``-th pixel from each of the ``phases`` on.

    lowest: around the pixels lies minus infinity instead of zero.
    """

    channels: int
    source: Planes
    result: Planes
    step: tuple[int, int]
    phases: tuple[tuple[int, int], ...]
    lowest: bool = False


@dataclass(frozen=True)
class WindowSpec:
    """activation(sum of weighted taps + bias) of each channel on planes, or of the largest tap without a weight.

    channels: planes of an image in the result. planes, size: planes of an input image, and numbers in each.
    offsets: where each tap begins, from a channel's first plane on.
    """

    channels: int
    planes: int
    size: int
    result: Planes
    offsets: tuple[int, ...]
    weight: bool
    bias: bool
    activation: str


@dataclass(frozen=True)
class WinogradPlanesSpec:
    """B^T d for the strips of ``m`` rows of ``channels`` planes; see ir/ops/winograd.py."""

    channels: int
    source: Planes
    result: Planes
    m: int


@dataclass(frozen=True)
class WinogradSpec:
    """activation(3x3 convolution + bias + residual) from the strips of ``channels`` planes, at least two pixels wide.

    The weight is dense, in blocks of ``rows`` x 1.
    columns: of each of the m + 2 weights. source: layout of what is read. result: layout of the output planes.
    """

    n: int
    columns: int
    rows: int
    channels: int
    source: Planes
    result: Planes
    m: int
    bias: bool
    residual: bool
    activation: str


KernelSpec = (
    LinearSpec | AttentionSpec | MaskSpec | NormSpec | RopeSpec | PackSpec | ConvSpec | CopySpec | WindowSpec
    | WinogradPlanesSpec | WinogradSpec
)  # fmt: skip
