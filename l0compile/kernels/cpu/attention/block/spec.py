"""What a kernel of attention to listed keys computes."""

from dataclasses import dataclass

from l0compile.kernels.cpu.attention.spec import AttentionSpec


@dataclass(frozen=True)
class ListAxes:
    """Which axes of a list [batch, head, row, entry] are not of size 1."""

    batch: bool
    head: bool


@dataclass(frozen=True)
class BlockAttentionSpec:
    """Attention of packed queries to the keys that a row program lists.

    Attributes:
        attention: heads, widths, scale, mask of keys and numbers; ``bias_heads`` are those of a bias by
            distance.
        q_block: queries of a row.
        k_block: keys of a block.
        full: axes of the list of blocks that are seen whole, or None.
        partial: axes of the list of blocks that are seen by a pattern, or None.
        pattern_numbers: axes of the numbers of their patterns, or None.
        columns: axes of the list of single keys, or None.
        log_sum_exp: the result has the logarithms of the sums of exponentials, too.
    """

    attention: AttentionSpec
    q_block: int
    k_block: int
    full: ListAxes | None = None
    partial: ListAxes | None = None
    pattern_numbers: ListAxes | None = None
    columns: ListAxes | None = None
    log_sum_exp: bool = False

    @property
    def blocks(self) -> bool:
        """Whether any blocks are listed."""
        return self.full is not None or self.partial is not None
