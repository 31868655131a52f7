"""Kernels to time on a GPU: ours, cuBLAS, PyTorch's block-sparse Triton kernel, torch.compile, attention of others."""

import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import flex_attention as flex

from harness.gpu_plan import AttentionCase, LayerCase
from harness.gpu_session import GpuSession, Make
from l0compile.hardware.targets import Target
from l0compile.ir.ops.bsr import heaviest_first, to_blocks
from l0compile.kernels import emit
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec
from l0compile.kernels.cuda.linear.spec import FEW_TOKENS, CudaLinearSpec
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.lower.cuda.one_kernel import kernel_library
from l0compile.runtime import CudaStage

_COMPARED = 256  # tokens whose results are compared with products in float64


def thinned(case: LayerCase) -> Tensor:
    """The weight of a case in float32, on the CPU; blocks are kept by chance, the same at each call."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(case.n, case.k, generator=random)
    if not case.block:
        return weight
    kept = torch.rand(case.n // case.block, case.k // case.block, generator=random) < case.density
    kept[0, 0] = True  # never a layer without any
    return weight * kept.repeat_interleave(case.block, 0).repeat_interleave(case.block, 1)


@functools.lru_cache(maxsize=64)
def library_of(spec: Any, target: Target) -> CudaLibrary:
    """The machine code of a kernel, compiled once."""
    return kernel_library(emit(spec, target), target)[0]


def spec_of(case: LayerCase) -> CudaLinearSpec:
    """The kernel of ours that computes a case."""
    sparse = case.block > 0
    return CudaLinearSpec(
        case.n, case.k, case.block, case.block, case.dtype, bias=False, residual=False, order=sparse, activation="",
        few=case.tokens <= FEW_TOKENS,
    )  # fmt: skip


class LayerEngines:
    """A layer in all engines; each comes as a function that builds a call. half: the type that most layers have."""

    def __init__(self, case: LayerCase, session: GpuSession, half: str) -> None:
        self.case, self.session, self.half = case, session, half
        dtype = getattr(torch, case.dtype)
        self.weight = thinned(case).to(dtype)
        self.x = torch.randn(case.tokens, case.k, generator=torch.Generator().manual_seed(1)).to(dtype)

    def engines(self) -> Iterator[tuple[str, Make]]:
        """(engine, function that builds a call of the layer), ours first."""
        yield "ours", self.ours
        if self.case.block:
            yield "F.linear, torch.sparse BSR (Triton)", self._bsr
        else:
            yield "F.linear (cuBLAS)", self._dense
            if self.case.dtype == self.half:  # it takes long, and the others have one size
                yield "torch.compile", self._compiled

    def ours(self) -> Callable[[], Tensor]:
        """Our kernel."""
        stage = CudaStage(library_of(spec_of(self.case), self.session.target), {}, self.session.target)
        arrays = [self.weight]
        if self.case.block:
            blocks = to_blocks(self.weight, self.case.block, self.case.block)
            arrays = [*blocks, heaviest_first(blocks[2])]
        given = [array.to(self.session.place) for array in (self.x, *arrays)]
        return lambda: stage(given)[0]

    def wanted(self) -> Tensor:
        """The first results, by products in float64."""
        x, weight = (t.to(self.session.place).double() for t in (self.x[:_COMPARED], self.weight))
        return F.linear(x, weight)

    def _there(self) -> tuple[Tensor, Tensor]:
        return self.x.to(self.session.place), self.weight.to(self.session.place)

    def _dense(self) -> Callable[[], Tensor]:
        return partial(F.linear, *self._there())

    def _bsr(self) -> Callable[[], Tensor]:
        x, weight = self._there()
        return partial(F.linear, x, weight.to_sparse_bsr((self.case.block, self.case.block)))

    def _compiled(self) -> Callable[[], Tensor]:
        return partial(torch.compile(F.linear, mode="max-autotune-no-cudagraphs"), *self._there())


class AttentionEngines:
    """Attention in all engines, of the same random numbers."""

    def __init__(self, case: AttentionCase, session: GpuSession) -> None:
        self.case, self.session = case, session
        random = torch.Generator().manual_seed(1)
        shape = (1, case.tokens, case.heads * case.width)
        self.parts = [torch.randn(shape, generator=random).to(getattr(torch, case.dtype)) for _ in range(3)]

    def engines(self) -> Iterator[tuple[str, Make]]:
        """(engine, function that builds a call), ours first."""
        yield "ours", self.ours
        yield "scaled_dot_product_attention", self._sdpa
        yield "FlexAttention", self._flex

    def ours(self) -> Callable[[], Tensor]:
        """Our kernel."""
        case, target = self.case, self.session.target
        spec = CudaAttentionSpec(
            case.heads, case.heads, case.width, case.width, case.width**-0.5, case.dtype,
            after=0 if case.causal else None,
        )  # fmt: skip
        stage = CudaStage(library_of(spec, target), {}, target)
        given = [part.to(self.session.place) for part in self.parts]
        return lambda: stage(given)[0][0]

    def wanted(self) -> Tensor:
        """The first results in float64; of a long sequence not all, whose scores would not fit memory."""
        q, k, v = (part.double() for part in self._by_head())
        q = q[:, :, :_COMPARED]
        keys = torch.arange(k.shape[2], device=q.device)
        mask = keys <= keys[: q.shape[2], None] if self.case.causal else None
        return _joined(F.scaled_dot_product_attention(q, k, v, mask))[0]

    def _by_head(self) -> list[Tensor]:
        heads = (self.case.heads, self.case.width)
        return [part.to(self.session.place).unflatten(-1, heads).transpose(1, 2) for part in self.parts]

    def _sdpa(self) -> Callable[[], Tensor]:
        run = partial(F.scaled_dot_product_attention, *self._by_head(), is_causal=self.case.causal)
        return lambda: _joined(run())

    def _flex(self) -> Callable[[], Tensor]:
        tokens, lists = self.case.tokens, None
        if self.case.causal:
            lists = flex.create_block_mask(_causal, None, None, tokens, tokens, device=self.session.place)
        run = partial(torch.compile(flex.flex_attention), *self._by_head(), block_mask=lists)
        return lambda: _joined(run())


def _causal(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key


def _joined(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)
