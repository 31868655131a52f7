"""Kernels to time on a GPU: ours, cuBLAS, PyTorch's block-sparse Triton kernel, torch.compile, attention of others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import tvm_ffi
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import flex_attention as flex

from l0compile.hardware._tvm import tvm, tvm_target
from l0compile.hardware.targets import Target
from l0compile.ir.ops.bsr import heaviest_first, to_blocks
from l0compile.kernels.cuda.attention.code import cuda_attention
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec


@dataclass(frozen=True)
class LayerCase:
    """A linear layer with zeros.

    Attributes:
        tokens, n, k: rows of the input, output and input features.
        block: rows and columns of a square block.
        density: share of the blocks that are kept.
        dtype: "float16", "bfloat16" or "float32".
    """

    tokens: int
    n: int
    k: int
    block: int
    density: float
    dtype: str

    def weight(self) -> Tensor:
        """[n, k] on the GPU, with blocks kept by chance, the same at each call."""
        return thinned(self).to("cuda", getattr(torch, self.dtype))


def layer_cases() -> list[LayerCase]:
    """What is timed: BERT-base's and Llama-3.1-8B's feed-forward, many tokens and one, three densities."""
    cases = [
        LayerCase(tokens, n, k, block, density, "bfloat16")
        for tokens, n, k in ((4096, 3072, 768), (4096, 14336, 4096), (16, 14336, 4096))
        for block in (32, 64, 128)
        for density in (0.1, 0.2, 0.5)
    ]
    return [*cases, *(LayerCase(4096, 3072, 768, 64, 0.1, dtype) for dtype in ("float16", "float32"))]


def thinned(case: LayerCase) -> Tensor:
    """The weight of a case in float32, on the CPU."""
    random = torch.Generator().manual_seed(0)
    kept = torch.rand(case.n // case.block, case.k // case.block, generator=random) < case.density
    kept[0, 0] = True  # never a layer without any
    mask = kept.repeat_interleave(case.block, 0).repeat_interleave(case.block, 1)
    return torch.randn(case.n, case.k, generator=random) * mask


def built(function: Any, target: Target, name: str) -> Callable[..., None]:
    """Compile a PrimFunc; the result takes tensors of PyTorch, the one for the result last, on its current stream."""
    code = tvm.compile(function, target=tvm_target(target))[name]

    def call(*tensors: Tensor) -> None:
        with tvm_ffi.use_torch_stream():
            code(*tensors)

    return call


def layer_calls(case: LayerCase, target: Target) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """(engine, call that computes the layer) for each engine, ours first."""
    dtype, weight = getattr(torch, case.dtype), case.weight()
    x = torch.randn(case.tokens, case.k, device="cuda", dtype=dtype)
    y = torch.empty(case.tokens, case.n, device="cuda", dtype=dtype)
    data, indices, indptr = (part.to("cuda") for part in to_blocks(weight.cpu(), case.block, case.block))
    order = heaviest_first(indptr.cpu()).to("cuda")
    block = (case.block, case.block)
    spec = CudaLinearSpec(
        case.n, case.k, *block, case.dtype, bias=False, residual=False, order=True, activation=""
    )
    ours = built(cuda_linear(spec, target), target, "cuda_linear")

    def run() -> Tensor:
        ours(x, data, indices, indptr, order, y)
        return y

    yield "ours", run
    yield "F.linear (cuBLAS), dense", lambda: F.linear(x, weight)
    sparse = weight.to_sparse_bsr(block)
    yield "F.linear, torch.sparse BSR (Triton)", lambda: F.linear(x, sparse)
    compiled = torch.compile(lambda x, weight: F.linear(x, weight), mode="max-autotune-no-cudagraphs")
    yield "torch.compile, dense", lambda: compiled(x, weight)


def attention_calls(
    heads: int, width: int, tokens: int, target: Target
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """The same for attention to all keys in bfloat16, one sequence."""
    shape, half = (1, tokens, heads * width), torch.bfloat16
    q, k, v = (torch.randn(shape, device="cuda", dtype=half) for _ in range(3))
    y = torch.empty_like(q)
    spec = CudaAttentionSpec(heads, heads, width, width, width**-0.5, "bfloat16")
    ours = built(cuda_attention(spec, target), target, "cuda_attention")

    def run() -> Tensor:
        ours(q, k, v, y)
        return y

    yield "ours", run
    split = [x.unflatten(-1, (heads, width)).transpose(1, 2) for x in (q, k, v)]
    yield "scaled_dot_product_attention", lambda: _joined(F.scaled_dot_product_attention(*split))
    compiled = torch.compile(flex.flex_attention)
    yield "FlexAttention", lambda: _joined(compiled(*split))


def _joined(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)
