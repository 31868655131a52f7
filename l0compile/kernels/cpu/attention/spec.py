"""What an attention kernel computes."""

from dataclasses import dataclass
from typing import Literal

from l0compile.kernels.cpu.mask import MaskSpec
from l0compile.kernels.cpu.word_form import WordForm


@dataclass(frozen=True)
class AttentionSpec:
    """Attention over packed tokens.

    Attributes:
        heads: query heads.
        kv_heads: key and value heads, which the query heads share.
        dim: width of a query or key head.
        value_dim: width of a value head.
        scale: factor on the scores.
        before: a query sees no key further before its own position than this; None: no limit.
        after: a query sees no key further behind its own position than this; None: no limit.
        mask: a mask that is one for all queries, or None.
        bias_heads: heads of a mask packed with queries in lanes; 0 where there is none.
        numbers: what both products multiply.
        result: the words in which the result is written; None: it is float32.
        softcap: limit of scores, 0 for none.
    """

    heads: int
    kv_heads: int
    dim: int
    value_dim: int
    scale: float
    before: int | None = None
    after: int | None = None
    mask: MaskSpec | None = None
    bias_heads: int = 0
    numbers: Literal["float32", "bfloat16"] = "float32"
    result: WordForm | None = None
    softcap: float = 0.0

    @property
    def window(self) -> bool:
        """A query sees a number of keys that does not grow with the sequence."""
        return self.before is not None and self.after is not None

    @property
    def pairs(self) -> bool:
        """Keys are in words of two features, values in words of two tokens, weights in words of two keys."""
        return self.numbers == "bfloat16"
