"""What an attention kernel for CUDA computes."""

from dataclasses import dataclass

from l0compile.kernels.cpu.attention.block.spec import ListAxes


@dataclass(frozen=True)
class MaskOperand:
    """A mask [batch, head, query, key] of single scores.

    Attributes:
        full: which axes are not of size 1.
        dtype: "bool", True = this key is live, or a floating type, which is added to the scores.
    """

    full: tuple[bool, bool, bool, bool]
    dtype: str

    @property
    def boolean(self) -> bool:
        return self.dtype == "bool"


@dataclass(frozen=True)
class DistanceBias:
    """What is added to a score, by the distance between query and key.

    Attributes:
        heads: each head has its own.
        dtype: a floating type.
    """

    heads: bool
    dtype: str


@dataclass(frozen=True)
class CudaAttentionSpec:
    """Attention over q [batch, queries, heads*dim], k [batch, keys, kv_heads*dim], v [batch, keys, kv_heads*value_dim].

    Attributes:
        heads: query heads.
        kv_heads: key and value heads, which the query heads share.
        dim: width of a query or key head.
        value_dim: width of a value head.
        scale: factor on the scores.
        dtype: type of q, k, v and the result: "float32", "float16" or "bfloat16"; sums are float32.
        before: a query sees no key further before its own position than this; None: no limit.
        after: a query sees no key further behind its own position than this; None: no limit.
        mask: of single scores, or None.
        bias: by distance, or None.
        softcap: limit of scores, 0 for none.
        log_sum_exp: the result has the logarithms of the sums of exponentials behind its features, too.
    """

    heads: int
    kv_heads: int
    dim: int
    value_dim: int
    scale: float
    dtype: str
    before: int | None = None
    after: int | None = None
    mask: MaskOperand | None = None
    bias: DistanceBias | None = None
    softcap: float = 0.0
    log_sum_exp: bool = False

    @property
    def bytes(self) -> int:
        """Of a number of q, k, v and the result."""
        return 4 if self.dtype == "float32" else 2

    @property
    def tensor_cores(self) -> bool:
        """Products are computed by tensor cores, whose numbers are of 16 bits."""
        return self.dtype != "float32"

    @property
    def plain(self) -> bool:
        """A score is a product times a positive factor, so that the factor can wait until exponentials are taken."""
        added = self.mask is not None and not self.mask.boolean
        return self.scale > 0 and not self.softcap and self.bias is None and not added

    @property
    def result_width(self) -> int:
        """Numbers of one token of the result."""
        return self.heads * (self.value_dim + int(self.log_sum_exp))


@dataclass(frozen=True)
class CudaBlockAttentionSpec:
    """Attention to the keys that a row program lists.

    Attributes:
        attention: all but the lists; it has no window.
        q_block: queries of a row.
        k_block: keys of a block.
        full: axes of the list of blocks that are seen whole, or None.
        partial: axes of the list of blocks that are seen by a pattern, or None.
        pattern_numbers: axes of the numbers of their patterns, or None.
        columns: axes of the list of single keys, or None.
    """

    attention: CudaAttentionSpec
    q_block: int
    k_block: int
    full: ListAxes | None = None
    partial: ListAxes | None = None
    pattern_numbers: ListAxes | None = None
    columns: ListAxes | None = None
