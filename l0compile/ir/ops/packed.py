"""Tokens-in-lanes ("packed") operators, each with the PyTorch implementation that is its oracle.

Layout. A tensor of shape [..., F] holds M = prod(leading dims) tokens of F features. Packed it is [T, F, L] with
T = ceil(M / L): the L tokens of a tile are the vector lanes, so every matrix product is one microkernel (a broadcast
weight times a vector of tokens) and every reduction over features runs lane by lane. No lane reads the lanes past the
last token. They hold finite values up to the end of the register of the last token, and anything beyond, where kernels
need not compute them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.attention.multi_head import attention, key_heads
from l0compile.ir.ops.bfloat16 import FEATURES as PAIR
from l0compile.ir.ops.bsr import bsr_linear
from l0compile.ir.ops.norm import compacted_layer_norm, compacted_rms_norm
from l0compile.ir.ops.results import in_words, in_words_like
from l0compile.ir.ops.rope import rope
from l0compile.ir.ops.words import from_words


def _to_rows(x: Tensor, tokens: int) -> Tensor:
    return x.transpose(1, 2).reshape(-1, x.shape[1])[:tokens]


@torch.library.custom_op("l0compile::pack", mutates_args=())
def pack(x: Tensor, lanes: int) -> Tensor:
    """[..., F] -> [ceil(M / lanes), F, lanes]; missing tokens of the last tile are zero."""
    rows = x.reshape(-1, x.shape[-1])
    rows = F.pad(rows, (0, 0, 0, -rows.shape[0] % lanes))
    return rows.reshape(-1, lanes, x.shape[-1]).transpose(1, 2).contiguous()


@pack.register_fake
def _(x: Tensor, lanes: int) -> Tensor:
    tokens = 1
    for size in x.shape[:-1]:
        tokens = tokens * size
    return x.new_empty((tokens + lanes - 1) // lanes, x.shape[-1], lanes)


@torch.library.custom_op("l0compile::unpack", mutates_args=())
def unpack(x: Tensor, leading: Sequence[int]) -> Tensor:
    """[T, F, L] -> [*leading, F]: the inverse of ``pack`` for prod(leading) tokens."""
    tokens = 1
    for size in leading:
        tokens *= size
    return _to_rows(x, tokens).reshape(*leading, x.shape[1]).clone()


@unpack.register_fake
def _(x: Tensor, leading: Sequence[int]) -> Tensor:
    return x.new_empty(*leading, x.shape[1])


@torch.library.custom_op("l0compile::packed_linear", mutates_args=())
def packed_linear(
    x: Tensor,
    data: Tensor,
    indices: Tensor | None,
    indptr: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    n: int,
    activation: str,
    tokens: int | None = None,
) -> Tensor:
    """activation(W x + bias) + residual on packed tokens: x [T, k, L] -> [T, n, L].

    W is held in blocks, data [nnz, cols, rows] with data[p, c, r] = W[j * rows + r, indices[p] * cols + c] for
    indptr[j] <= p < indptr[j + 1]. Dense: indices and indptr are None, and data has all blocks of one column in order.
    ``residual`` is [T, n, L], added after the activation. ``tokens`` is the number of tokens, for every packed operator
    that takes it: lanes past the last one need not be computed. Without it all lanes are.
    """
    k, (_, _, rows) = x.shape[1], data.shape
    if indices is None or indptr is None:
        row_blocks = -(-n // rows)
        indices = torch.arange(k, dtype=torch.int32).repeat(row_blocks)
        indptr = torch.arange(row_blocks + 1, dtype=torch.int32) * k
    y = bsr_linear(_to_rows(x, x.shape[0] * x.shape[2]), data, indices, indptr, bias, n, k)
    y = pack(activate(y, activation), x.shape[2])
    return y if residual is None else y + residual


@packed_linear.register_fake
def _(x, data, indices, indptr, bias, residual, n, activation, tokens=None):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], n, x.shape[2])


@torch.library.custom_op("l0compile::pack_mask", mutates_args=())
def pack_mask(mask: Tensor, batch: int, queries: int, keys: int, lanes: int) -> Tensor:
    """An attention mask as ``packed_attention`` adds it: queries in lanes, shared by all layers that use the mask.

    mask is broadcastable to [batch, heads, queries, keys], bool (True = attend) or floating. The result is
    [H, T, keys, lanes] float32 with T tiles of the batch * queries tokens, H = 1 where heads share the mask: what is
    added to the score, 0 or -inf from a bool. Missing tokens of the last tile are 0.
    """
    full = mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)
    if full.dtype == torch.bool:
        full = torch.zeros(full.shape).masked_fill(~full, float("-inf"))
    rows = full.expand(batch, -1, queries, keys).transpose(0, 1).reshape(full.shape[1], -1, keys)
    rows = F.pad(rows, (0, 0, 0, -rows.shape[1] % lanes))
    return rows.reshape(full.shape[1], -1, lanes, keys).transpose(2, 3).contiguous()


@pack_mask.register_fake
def _(mask: Tensor, batch: int, queries: int, keys: int, lanes: int) -> Tensor:
    heads = mask.shape[-3] if mask.ndim > 2 else 1
    return mask.new_empty(heads, (batch * queries + lanes - 1) // lanes, keys, lanes, dtype=torch.float32)


@torch.library.custom_op("l0compile::packed_attention", mutates_args=())
def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    batch: int,
    queries: int,
    keys: int,
    heads: int,
    scale: float,
    before: int | None,
    after: int | None,
    numbers: str = "float32",
    inverse: Tensor | None = None,
    zero_point: int = 0,
    pairs: str = "",
    softcap: float = 0.0,
) -> Tensor:
    """``l0compile::attention`` on packed tokens: q [T, heads*D, L] of batch*queries tokens, k and v of batch*keys.

    In bfloat16 k is in words of two features, a result of ``packed_bfloat16``, and v in words of two tokens, one of
    ``packed_token_pairs``. mask: one for all queries, broadcastable to [batch, heads, 1, keys]. bias: of each query, a
    result of ``pack_mask``.
    Scores get both; a query with no live key gives 0. The result may be in words, see :mod:`l0compile.ir.ops.results`.
    """
    if numbers == "bfloat16":
        k = from_words(k.transpose(1, 2), torch.bfloat16).float().transpose(1, 2)
        v = from_words(v, torch.bfloat16).float()
    rows = [_to_rows(t, batch * s).reshape(batch, s, -1) for t, s in ((q, queries), (k, keys), (v, keys))]
    if bias is not None:
        added = bias.transpose(2, 3).flatten(1, 2)[:, : batch * queries].unflatten(1, (batch, queries))
        added = added.transpose(0, 1)
        if mask is not None:
            added = added.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else added + mask
        mask = added
    y = pack(attention(*rows, mask, heads, scale, before, after, numbers, softcap), q.shape[2])
    return in_words(y, inverse, zero_point, pairs)


@packed_attention.register_fake
def _(  # type: ignore[no-untyped-def]
    q, k, v, mask, bias, batch, queries, keys, heads, scale, before, after, numbers="float32", inverse=None,
    zero_point=0, pairs="", softcap=0.0,
):  # fmt: skip
    kv = key_heads(q.shape[1], k.shape[1] * (PAIR if numbers == "bfloat16" else 1), heads)
    return in_words_like(q.new_empty(q.shape[0], v.shape[1] // kv * heads, q.shape[2]), inverse, pairs)


@torch.library.custom_op("l0compile::packed_rope", mutates_args=())
def packed_rope(
    x: Tensor, cos: Tensor, sin: Tensor, heads: int, tokens: int | None = None, interleaved: bool = False
) -> Tensor:
    """``l0compile::rope`` on packed tokens: x [T, heads*D, L], cos and sin [T, D, L] of the same tokens, or D/2."""
    rows = [_to_rows(t, t.shape[0] * t.shape[2]).unsqueeze(0) for t in (x, cos, sin)]
    return pack(rope(*rows, heads, interleaved), x.shape[2])


@packed_rope.register_fake
def _(x, cos, sin, heads, tokens=None, interleaved=False):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


@torch.library.custom_op("l0compile::packed_layer_norm", mutates_args=())
def packed_layer_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    width: int,
    removed_mean: float,
    removed_m2: float,
    tokens: int | None = None,
    inverse: Tensor | None = None,
    zero_point: int = 0,
    pairs: str = "",
) -> Tensor:
    """``l0compile::compacted_layer_norm`` over the feature axis of packed tokens: x [T, C, L], weight and bias [C].

    The result may be in words, see :mod:`l0compile.ir.ops.results`.
    """
    rows = _to_rows(x, x.shape[0] * x.shape[2])
    y = pack(compacted_layer_norm(rows, weight, bias, eps, width, removed_mean, removed_m2), x.shape[2])
    return in_words(y, inverse, zero_point, pairs)


@packed_layer_norm.register_fake
def _(  # type: ignore[no-untyped-def]
    x, weight, bias, eps, width, removed_mean, removed_m2, tokens=None, inverse=None, zero_point=0, pairs=""
):  # fmt: skip
    return in_words_like(x, inverse, pairs)


@torch.library.custom_op("l0compile::packed_rms_norm", mutates_args=())
def packed_rms_norm(
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    width: int,
    removed_square_sum: float,
    tokens: int | None = None,
    inverse: Tensor | None = None,
    zero_point: int = 0,
    pairs: str = "",
) -> Tensor:
    """``l0compile::compacted_rms_norm`` over the feature axis of packed tokens: x [T, C, L], weight [C].

    The result may be in words, see :mod:`l0compile.ir.ops.results`.
    """
    rows = _to_rows(x, x.shape[0] * x.shape[2])
    y = pack(compacted_rms_norm(rows, weight, eps, width, removed_square_sum), x.shape[2])
    return in_words(y, inverse, zero_point, pairs)


@packed_rms_norm.register_fake
def _(x, weight, eps, width, removed_square_sum, tokens=None, inverse=None, zero_point=0, pairs=""):  # type: ignore[no-untyped-def]
    return in_words_like(x, inverse, pairs)


@torch.library.custom_op("l0compile::packed_layer_norm_words", mutates_args=())
def packed_layer_norm_words(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    width: int,
    removed_mean: float,
    removed_m2: float,
    inverse: Tensor | None,
    zero_point: int,
    pairs: str,
    tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``packed_layer_norm``, and the same in words, see :mod:`l0compile.ir.ops.results`."""
    y = packed_layer_norm(x, weight, bias, eps, width, removed_mean, removed_m2)
    return y, in_words(y, inverse, zero_point, pairs)


@packed_layer_norm_words.register_fake
def _(x, weight, bias, eps, width, removed_mean, removed_m2, inverse, zero_point, pairs, tokens=None):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), in_words_like(x, inverse, pairs)


@torch.library.custom_op("l0compile::packed_rms_norm_words", mutates_args=())
def packed_rms_norm_words(
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    width: int,
    removed_square_sum: float,
    inverse: Tensor | None,
    zero_point: int,
    pairs: str,
    tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``packed_rms_norm``, and the same in words, see :mod:`l0compile.ir.ops.results`."""
    y = packed_rms_norm(x, weight, eps, width, removed_square_sum)
    return y, in_words(y, inverse, zero_point, pairs)


@packed_rms_norm_words.register_fake
def _(x, weight, eps, width, removed_square_sum, inverse, zero_point, pairs, tokens=None):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), in_words_like(x, inverse, pairs)
