"""The definitions of attention for CUDA (oracles: ``l0compile::attention`` and ``l0compile::block_attention``)."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.nodes import arguments
from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.kernels.cpu.attention.block.spec import ListAxes
from l0compile.kernels.cpu.mask import mask_spec
from l0compile.kernels.cuda.attention.code import cuda_attention, cuda_block_attention
from l0compile.kernels.cuda.attention.schedules import ATTENTION_SCHEDULES
from l0compile.kernels.cuda.attention.spec import (
    CudaAttentionSpec,
    CudaBlockAttentionSpec,
    DistanceBias,
    MaskOperand,
)
from l0compile.kernels.cuda.costs.attention import CUDA_ATTENTION_COSTS
from l0compile.kernels.definition import KernelCall, KernelDef, given

_TYPES = ("float32", "float16", "bfloat16")
_WIDEST = 128  # features of a head: the sums of more leave too few registers
_LISTS = (
    "full_counts", "full_blocks", "partial_counts", "partial_blocks", "pattern_numbers", "patterns", "column_counts",
    "columns",
)  # fmt: skip


def _dense_call(node: fx.Node) -> KernelCall | None:
    own = arguments(node)
    spec = _spec(own, before=own["before"], after=own["after"], softcap=own["softcap"])
    if spec is None:
        return None
    return KernelCall(spec, given(*(own[name] for name in ("q", "k", "v", "mask"))), mask=own["mask"])


def _listed_call(node: fx.Node) -> KernelCall | None:
    own = arguments(node)
    spec = _spec(own, bias=_bias(own["bias"]), softcap=own["softcap"], log_sum_exp=own["log_sum_exp"])
    numbers = [own[name] for name in _LISTS if own[name] is not None and name != "patterns"]
    if spec is None or any(list_.meta["val"].dtype != torch.int32 for list_ in numbers):
        return None
    axes = (_axes(own[name]) for name in ("full_blocks", "partial_blocks", "pattern_numbers", "columns"))
    listed = CudaBlockAttentionSpec(spec, own["q_block"], own["k_block"], *axes)
    tensors = given(*(own[name] for name in ("q", "k", "v", *_LISTS, "mask", "bias")))
    return KernelCall(listed, tensors, mask=own["mask"])


def _spec(own: dict[str, Any], **others: Any) -> CudaAttentionSpec | None:
    """What both kernels compute; None for numbers and widths that they have no tiles for."""
    q, k, v = (own[name].meta["val"] for name in "qkv")
    heads, dtype = own["heads"], _name(q)
    kv_heads = key_heads(int(q.shape[2]), int(k.shape[2]), heads)
    dim, value_dim = int(q.shape[2]) // heads, int(v.shape[2]) // kv_heads
    whole = 4 if dtype == "float32" else 8  # numbers that are copied at once
    fits = all(size % whole == 0 and 0 < size <= _WIDEST for size in (dim, value_dim))
    if dtype not in _TYPES or not fits or own["numbers"] not in ("float32", dtype):
        return None
    mask = (
        None
        if own["mask"] is None
        else MaskOperand(mask_spec(own["mask"]).full, _name(own["mask"].meta["val"]))
    )
    if mask is not None and mask.dtype not in ("bool", *_TYPES):
        return None
    return CudaAttentionSpec(heads, kv_heads, dim, value_dim, own["scale"], dtype, mask=mask, **others)


def _bias(bias: fx.Node | None) -> DistanceBias | None:
    if bias is None:
        return None
    return DistanceBias(int(bias.meta["val"].shape[0]) > 1, _name(bias.meta["val"]))


def _axes(entries: fx.Node | None) -> ListAxes | None:
    if entries is None:
        return None
    batch, head = (not (isinstance(size, int) and size == 1) for size in entries.meta["val"].shape[:2])
    return ListAxes(batch, head)


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


CUDA_ATTENTION = KernelDef(
    name="cuda_attention",
    calls={"attention": _dense_call},
    spec=CudaAttentionSpec,
    emit=cuda_attention,
    costs=CUDA_ATTENTION_COSTS,
    op="attention",
    schedules=ATTENTION_SCHEDULES,
    dtypes=_TYPES,
    kind="cuda",
)
CUDA_BLOCK_ATTENTION = KernelDef(
    name="cuda_block_attention",
    calls={"block_attention": _listed_call},
    spec=CudaBlockAttentionSpec,
    emit=cuda_block_attention,
    costs=None,
    schedules=ATTENTION_SCHEDULES,
    dtypes=_TYPES,
    kind="cuda",
)
