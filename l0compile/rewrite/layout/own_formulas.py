"""Our own operators in ATen's: for machines where no kernel takes them."""

from collections.abc import Callable
from typing import Any

import torch

from l0compile.errors import RewriteError
from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.ir.ops.norm import layer_norm_formula, narrow_rms_norm_formula, rms_norm_formula
from l0compile.ir.ops.results import LEVELS
from l0compile.rewrite.layout.decompositions import in_float32

l0 = torch.ops.l0compile


@in_float32
def _attention(
    q: Any, k: Any, v: Any, mask: Any, heads: int, scale: float, before: Any, after: Any, numbers: str = "float32",
    softcap: float = 0.0,
) -> Any:  # fmt: skip
    """The definition of ``l0compile::attention``, without a query that sees no key giving NaN on the way."""
    if numbers != "float32":
        raise RewriteError("attention in bfloat16 numbers has no formula in ATen operators")
    batch, queries, keys = q.shape[0], q.shape[1], k.shape[1]
    kv = key_heads(q.shape[2], k.shape[2], heads)
    qh, kh, vh = (
        t.reshape(batch, t.shape[1], n, t.shape[2] // n).transpose(1, 2)
        for t, n in ((q, heads), (k, kv), (v, kv))
    )
    if kv != heads:
        kh, vh = (t.repeat_interleave(heads // kv, 1) for t in (kh, vh))
    scores = torch.matmul(qh, kh.transpose(-2, -1)) * scale
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(torch.logical_not(mask), float("-inf"))
    elif mask is not None:
        scores = scores + mask
    rows, columns = torch.arange(queries)[:, None], torch.arange(keys)
    if after is not None:
        scores = scores.masked_fill(columns > rows + after, float("-inf"))
    if before is not None:
        scores = scores.masked_fill(columns < rows - before, float("-inf"))
    top = scores.amax(-1, keepdim=True)
    raised = torch.exp(scores - top.masked_fill(top == float("-inf"), 0.0))
    total = raised.sum(-1, keepdim=True)
    weighted = torch.matmul(raised, vh) / total.masked_fill(total == 0.0, 1.0)
    return weighted.transpose(1, 2).reshape(batch, queries, v.shape[2] // kv * heads)


def _rope(x: Any, cos: Any, sin: Any, heads: int, interleaved: bool = False) -> Any:
    batch, tokens, width = x.shape[0], x.shape[1], x.shape[2] // heads
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    if interleaved:
        pairs = x.reshape(batch, tokens, heads, width // 2, 2)
        even, odd = pairs.select(-1, 0), pairs.select(-1, 1)
        parts = [(even * cos - odd * sin).unsqueeze(-1), (even * sin + odd * cos).unsqueeze(-1)]
        return torch.cat(parts, -1).reshape(x.shape)
    by_head = x.reshape(batch, tokens, heads, width)
    low, high = by_head.narrow(-1, 0, width // 2), by_head.narrow(-1, width // 2, width // 2)
    turned = torch.cat([-high, low], -1)
    return (by_head * cos + turned * sin).reshape(x.shape)


def _dense_linear(x: Any, weight: Any, bias: Any, residual: Any, _: int, activation: str) -> Any:
    y = torch.matmul(x, weight.transpose(0, 1))  # F.linear would be written out as addmm
    y = activate(y if bias is None else y + bias, activation)
    return y if residual is None else y + residual


def _quantize(x: Any, inverse: Any, zero_point: int) -> Any:
    scaled = x * inverse
    scaled = scaled.masked_fill(torch.isnan(scaled), float(-zero_point))
    within = scaled.clamp(-zero_point, LEVELS - zero_point)
    return (within.round() + zero_point).to(torch.uint8)


def _int8_linear(x: Any, weight: Any, scale: Any, bias: Any, zero_point: int, start: Any = None) -> Any:
    sums = torch.matmul(x.to(torch.int32) - zero_point, weight.to(torch.int32).transpose(0, 1))
    sums = sums if start is None else sums + start
    y = sums.to(torch.float32) * scale
    return y if bias is None else y + bias


def _int8_conv2d(
    x: Any, weight: Any, scale: Any, bias: Any, zero_point: int, stride: Any, padding: Any, dilation: Any,
    groups: int = 1,
) -> Any:  # fmt: skip
    """In whole numbers of 32 bits, which hold the sums that ``quantize`` makes layers for."""
    steps = list(stride), list(padding), list(dilation)
    sums = torch.convolution(
        x.to(torch.int32) - zero_point, weight.to(torch.int32), None, *steps, False, [0, 0], groups
    )
    y = sums.to(torch.float32) * scale[:, None, None]
    return y if bias is None else y + bias[:, None, None]


OWN_FORMULAS: dict[Any, Callable[..., Any]] = {
    l0.attention.default: _attention,
    l0.rope.default: _rope,
    l0.dense_linear.default: _dense_linear,
    l0.quantize.default: _quantize,
    l0.int8_linear.default: _int8_linear,
    l0.int8_conv2d.default: _int8_conv2d,
    l0.compacted_layer_norm.default: in_float32(layer_norm_formula),
    l0.compacted_rms_norm.default: in_float32(rms_norm_formula),
    l0.narrow_rms_norm.default: narrow_rms_norm_formula,
}
"""Operator -> a function of the same arguments in ATen operators."""
