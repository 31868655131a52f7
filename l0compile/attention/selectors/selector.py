"""What a selector is: queries and keys in, a row program out."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.ir.ops.attention.row_program import RowProgram


class Selector(nn.Module, ABC):
    """Chooses the keys that each block of queries sees, from the queries and keys themselves.

    The sizes of its lists follow from shapes alone, so a model that holds one can be exported. Choices have no
    gradient. The last query stands at the last key.
    """

    @abstractmethod
    def choose(self, q: Tensor, k: Tensor) -> RowProgram:
        """Return the program for queries [B, heads, Sq, D] and keys [B, heads, Sk, D]."""

    def forward(self, q: Tensor, k: Tensor, heads: int) -> RowProgram:
        """Return the program for projections as ``l0compile::block_attention`` takes them.

        Args:
            q: [B, Sq, heads * D].
            k: [B, Sk, kv * D], where kv divides heads.
            heads: Number of query heads.
        """
        kv = key_heads(q.shape[2], k.shape[2], heads)
        q, k = (t.detach().unflatten(-1, (n, -1)).transpose(1, 2) for t, n in ((q, heads), (k, kv)))
        return self.choose(q, k if kv == heads else k.repeat_interleave(heads // kv, 1))
