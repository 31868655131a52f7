"""What a kernel is asked to compute (one frozen value per kernel) and the token tile it is written for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenTile:
    """How many tokens travel together and how they lie in registers.

    lanes: tokens of a tile (the last axis of a packed tensor). vector: float32 elements of one register.
    rows: features a microkernel accumulates at once; rows * lanes / vector accumulators must fit the register file.
    threads: worker threads a loop is cut for.
    """

    lanes: int
    vector: int
    rows: int
    threads: int

    @property
    def vectors(self) -> int:
        return self.lanes // self.vector


@dataclass(frozen=True)
class LinearSpec:
    """activation(W x + bias) + residual; W is [n, k] in blocks of rows x cols, ``dense`` when every block is there."""

    n: int
    k: int
    rows: int
    cols: int
    dense: bool
    bias: bool
    residual: bool
    activation: str


@dataclass(frozen=True)
class AttentionSpec:
    """Attention over packed tokens; ``mask`` is the static broadcast pattern of the mask's four axes, or None.

    mask[i] tells whether axis i of [batch, head, query, key] has its full extent (False: size 1).
    """

    heads: int
    dim: int
    scale: float
    causal: bool
    mask: tuple[bool, bool, bool, bool] | None


@dataclass(frozen=True)
class NormSpec:
    """LayerNorm (``centred``) or RMSNorm of a vector of ``width`` channels, at the ``features`` of them that are left.

    removed_mean: mean of the other width - features channels. removed_squares: the sum of their squares, taken from
    their mean when ``centred``. See ops/norm.py for the formulas.
    """

    features: int
    eps: float
    centred: bool
    weight: bool
    bias: bool
    width: int
    removed_mean: float = 0.0
    removed_squares: float = 0.0


@dataclass(frozen=True)
class PackSpec:
    """Move ``features`` per token between rows [M, F] and packed [T, F, L]; ``unpack`` is the way back."""

    features: int
    unpack: bool


KernelSpec = LinearSpec | AttentionSpec | NormSpec | PackSpec
