"""Attention to the keys of a row program."""

from torch import Tensor

from l0compile.ir.ops.attention.block import block_attention
from l0compile.ir.ops.attention.row_program import RowProgram


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    program: RowProgram,
    heads: int,
    *,
    scale: float | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Return softmax(scale * Q Kᵀ over the keys that the program lists) V, head by head.

    In PyTorch a dense mask does it, with gradients; compiled, keys that are not listed are never read. It stands for
    the operator ``l0compile::block_attention``, which also takes biases by distance, a soft cap and more.

    Args:
        q: [B, Sq, heads * D], the projections as they are.
        k: [B, Sk, kv * D], where kv divides heads.
        v: [B, Sk, kv * Dv].
        program: Which keys each block of queries sees.
        heads: Number of query heads.
        scale: 1 / sqrt(D) if it is not given.
        mask: Of single keys, for instance padding: broadcastable to [B, heads, 1, Sk], bool (True = live) or added to
            the scores.

    Returns:
        [B, Sq, heads * Dv]; 0 for a query that sees nothing.
    """
    factor = (q.shape[2] // heads) ** -0.5 if scale is None else scale
    result: Tensor = block_attention(
        q, k, v, *program.operands(), mask, None, heads, program.q_block, program.k_block, factor
    )
    return result
