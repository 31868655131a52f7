"""How times of CUDA's attention kernel are recorded, and what it is timed with."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx

from l0compile.hardware.costs import KernelWorkload, Machine
from l0compile.hardware.targets import Target
from l0compile.ir.nodes import example_size, shape
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec, MaskOperand
from l0compile.kernels.definition import KernelCall, KernelCosts, KernelOperands
from l0compile.kernels.token_tile import TokenTile

_KEY_MASK = MaskOperand((True, False, False, True), "bool")  # of padded keys
_CAUSAL, _MASKED = "causal", "mask"
_TYPES = ("float32", "float16", "bfloat16")
_WIDEST = 128  # features of a head, as of the kernel's definition


def _workload(_: fx.Node, call: KernelCall) -> KernelWorkload | None:
    """Of all keys, or of those up to the query, or of those that are no padding; what is rarer has no record."""
    spec: CudaAttentionSpec = call.spec
    (batch, queries, _width), (_batch, keys, _width) = (map(example_size, shape(x)) for x in call.tensors[:2])
    words = {_CAUSAL: (spec.before, spec.after) == (None, 0), _MASKED: spec.mask == _KEY_MASK}
    made = KernelWorkload(
        "attention", (spec.heads, spec.kv_heads, spec.dim, spec.value_dim, queries, keys), tokens=batch * queries,
        variant="+".join(word for word, there in words.items() if there), dtype=spec.dtype,
    )  # fmt: skip
    same = _spec_of(made)
    # The factor on the scores changes no time.
    return made if same is not None and replace(spec, scale=same.scale) == same else None


def _spec_of(workload: KernelWorkload) -> CudaAttentionSpec | None:
    if len(workload.shape) != 6 or not {*workload.words} <= {_CAUSAL, _MASKED} or not all(workload.shape):
        return None
    heads, kv_heads, dim, value_dim, _, _ = workload.shape
    whole = 4 if workload.dtype == "float32" else 8
    if workload.dtype not in _TYPES or dim % whole or value_dim % whole or max(dim, value_dim) > _WIDEST:
        return None
    return CudaAttentionSpec(
        heads, kv_heads, dim, value_dim, dim**-0.5, workload.dtype,
        after=0 if _CAUSAL in workload.words else None, mask=_KEY_MASK if _MASKED in workload.words else None,
    )  # fmt: skip


def _counts(_: KernelWorkload, __: Machine) -> Mapping[str, float]:
    """Nothing is counted: what was not measured on a GPU is predicted by an analytic model."""
    return {}


def _operands(
    spec: CudaAttentionSpec, workload: KernelWorkload, _: TokenTile | Target, random: np.random.Generator
) -> KernelOperands:
    """With a mask, every sequence is a third padding."""
    generator = torch.Generator().manual_seed(int(random.integers(1 << 31)))
    queries, keys = workload.shape[4:]
    batch = max(1, workload.tokens // queries)

    def numbers(tokens: int, width: int) -> Tensor:
        return torch.randn(batch, tokens, width, generator=generator).to(getattr(torch, spec.dtype))

    values = [numbers(queries, spec.heads * spec.dim), numbers(keys, spec.kv_heads * spec.dim)]
    values.append(numbers(keys, spec.kv_heads * spec.value_dim))
    if spec.mask is not None:
        values.append((torch.arange(keys) < max(1, 2 * keys // 3)).expand(batch, 1, 1, keys).contiguous())
    return KernelOperands((*values, numbers(queries, spec.heads * spec.value_dim)))


CUDA_ATTENTION_COSTS = KernelCosts(_workload, lambda workload, _: _spec_of(workload), _counts, _operands)
